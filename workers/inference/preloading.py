"""Loads the models of `PAGEWRIGHT_PRELOAD` when a worker starts, so that the first job does not wait for them."""

import logging
import threading
from collections.abc import Iterable

from db.queries import models
from db.tables.models import Model
from models.loading.hub import HubUnreachable
from models.tasks.errors import TaskError
from workers.inference.engines import borrow_engine
from workers.retrying import retry_database
from workers.runtime import Runtime

log = logging.getLogger(__name__)


def start_preloading(runtime: Runtime) -> None:
    """Load the models that the settings name, in a thread, while the worker already runs jobs."""
    names = runtime.settings.preloaded_models
    if names:
        threading.Thread(target=preload, args=[runtime, names], name="preload", daemon=True).start()


def preload(runtime: Runtime, names: Iterable[str]) -> None:
    """Load models by name or id, one after the other. What can't be loaded is logged and left out."""
    for name in names:
        if runtime.leases.draining:
            return
        try:
            _load(runtime, name)
        except Exception as error:  # any: the other models are loaded all the same
            known = isinstance(error, TaskError | HubUnreachable)
            log.error("%s is not preloaded: %s", name, error, exc_info=None if known else error)


def _load(runtime: Runtime, name: str) -> None:
    model = retry_database(lambda: _find(runtime, name))
    if model is None:
        log.error("%s is not preloaded: PAGEWRIGHT_PRELOAD names it, but no model with this name is registered", name)
        return
    with borrow_engine(runtime, model, None, []):
        log.info("%s is preloaded", name)


def _find(runtime: Runtime, name: str) -> Model | None:
    with runtime.database.read() as session:
        return models.find(session, name)
