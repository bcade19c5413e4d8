"""From a registered model to what loads it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from db.queries import models
from db.session import Database
from db.tables.models import Model
from db.vocabulary import ModelKind, ModelSource
from models.loading.refs import ModelLoadError, ModelRef, Source
from pagewright.artifacts import ArtifactStore
from pagewright.settings import Settings


def model_ref(
    database: Database,
    model: Model,
    settings: Settings,
    artifacts: ArtifactStore,
    load: Mapping[str, Any] | None = None,
) -> ModelRef:
    """Where the model is, and how it is loaded; what is in the artifact store is brought to this machine first.

    `load` is what the job asked for: an adapter's base is loaded so, whatever the adapter was trained over. Raises
    ModelLoadError when its files are gone, and another OSError when the store does not answer, which may well be
    different the next time.
    """
    if load is not None:
        return replace(model_ref(database, model, settings, artifacts), bitsandbytes=load["bits"])
    if model.kind == ModelKind.ADAPTER:
        base = model_ref(database, _parent(database, model), settings, artifacts)
        if base.adapter is not None:
            raise ModelLoadError(f"{model.name}: it is an adapter over an adapter; merge the one below first")
        return replace(base, adapter=_folder(model, artifacts))
    if model.source == ModelSource.ARTIFACT:
        return ModelRef(Source.LOCAL, _folder(model, artifacts))
    location = str(settings.local_models / model.location) if model.source == ModelSource.LOCAL else model.location
    return ModelRef(Source(model.source), location, model.revision)


def _parent(database: Database, model: Model) -> Model:
    # a transaction of its own: none must stay open while files are copied
    with database.read() as session:
        parent = models.get(session, model.parent_id) if model.parent_id else None
    if parent is None:
        raise ModelLoadError(f"{model.name}: it is an adapter, and its base model is not registered")
    return parent


def _folder(model: Model, artifacts: ArtifactStore) -> str:
    try:
        return str(artifacts.local_folder(model.location))
    except FileNotFoundError as error:
        raise ModelLoadError(f"{model.name}: its files are no longer in the artifact store") from error
