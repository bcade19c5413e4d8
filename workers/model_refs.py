"""Resolves registered models to the references that `models.loading` loads."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from db.queries import models
from db.tables.models import Model
from db.vocabulary import ModelKind, ModelSource
from models.loading import hub
from models.loading.refs import ModelLoadError, ModelRef, Source
from workers.runtime import Runtime

log = logging.getLogger(__name__)

HUB_SECONDS = 10.0
"""How long the hub may take to say what a branch or a tag is."""


def model_ref(runtime: Runtime, model: Model, load_options: Mapping[str, Any] | None = None) -> ModelRef:
    """Return where the model's files are and how to load them. Files in the artifact store are fetched first.

    `load_options` are those of the job. They apply to an adapter's base model, no matter how the base model was loaded
    when the adapter was trained. Raises ModelLoadError if the model's files no longer exist, OSError if the
    artifact store does not answer, and HubUnreachable if the hub does not say which commit a branch is.
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
    if model.source == ModelSource.HUB:
        return ModelRef(Source.HUB, model.location, _commit(runtime, model))
    return ModelRef(Source(model.source), model.location)


def _commit(runtime: Runtime, model: Model) -> str:
    """Return the commit of a hub model. If the hub could not be asked before, ask it now, and store the answer."""
    if commit := models.commit_of(model):
        return commit
    commit = hub.resolve(model.location, model.revision or "main", HUB_SECONDS)
    with runtime.database.write() as session:
        return models.set_commit(session, model.id, commit)


def store_files(runtime: Runtime, model: Model) -> None:
    """Store what the files of a hub model are, if that is unknown; they are in the cache by now."""
    if model.source != ModelSource.HUB or model.files is not None:
        return
    try:
        found = hub.look_up_in_cache(model.location, _commit(runtime, model))
    except ModelLoadError as error:
        log.warning("the files of %s can't be described: %s", model.name, error)
        return
    if found is not None:
        with runtime.database.write() as session:
            models.set_files(session, model.id, asdict(found.files))


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
