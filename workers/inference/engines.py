"""Lends the engine of a registered model, and stores with the model how it is served."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from db.queries import models
from db.tables.models import Model
from models.serving.engine import Engine
from workers.model_refs import model_ref, store_files
from workers.runtime import Runtime

log = logging.getLogger(__name__)


@contextmanager
def borrow_engine(runtime: Runtime, model: Model, load_options: Mapping[str, Any] | None) -> Iterator[Engine]:
    """Yield the model's engine, as `ModelPool.borrow`, and store its name and reason with the model if they are new."""
    with runtime.pool.borrow(model_ref(runtime, model, load_options)) as engine:
        if (model.engine, model.engine_reason) != (engine.name, engine.reason):
            with runtime.database.write() as session:
                models.set_engine(session, model.id, engine.name, engine.reason)
            log.info("%s is served by %s%s", model.name, engine.name, f": {engine.reason}" if engine.reason else "")
        store_files(runtime, model)
        yield engine
