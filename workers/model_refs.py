"""Resolves registered models to the references that `models.loading` loads."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from db.queries import models
from db.tables.models import Model
from db.vocabulary import ModelKind, ModelSource
from models.loading.refs import ModelLoadError, ModelRef, Source
from workers.runtime import Runtime


def model_ref(runtime: Runtime, model: Model, load_options: Mapping[str, Any] | None = None) -> ModelRef:
    """Return where the model's files are and how to load them. Files in the artifact store are fetched first.

    `load_options` are those of the job. They apply to an adapter's base model, no matter how the base model was loaded
    when the adapter was trained. Raises ModelLoadError if the model's files no longer exist, and OSError if the
    artifact store does not answer.
    """
    ref = _resolve(runtime, model)
    return ref if load_options is None else replace(ref, bitsandbytes=load_options["bits"])


def _resolve(runtime: Runtime, model: Model) -> ModelRef:
    if model.kind == ModelKind.ADAPTER:
        base = _resolve(runtime, _base_model(runtime, model))
        if base.adapter is not None:
            raise ModelLoadError(f"{model.name}: its base model is an adapter; merge that adapter first")
        return replace(base, adapter=_local_folder(runtime, model))
    if model.source == ModelSource.ARTIFACT:
        return ModelRef(Source.LOCAL, _local_folder(runtime, model), name=model.name)
    if model.source == ModelSource.LOCAL:
        return ModelRef(Source.LOCAL, str(runtime.settings.local_models / model.location), name=model.name)
    return ModelRef(Source(model.source), model.location, model.revision)


def _base_model(runtime: Runtime, adapter: Model) -> Model:
    with runtime.database.read() as session:
        base = models.get(session, adapter.parent_id) if adapter.parent_id else None
    if base is None:
        raise ModelLoadError(f"{adapter.name}: the base model of this adapter is not registered")
    return base


def _local_folder(runtime: Runtime, model: Model) -> str:
    try:
        return str(runtime.artifacts.local_folder(model.location))
    except FileNotFoundError as error:
        raise ModelLoadError(f"{model.name}: the model's files are no longer in the artifact store") from error
