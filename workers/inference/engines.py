"""Lends the engine of a registered model, and stores with the model how it is served."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from db.queries import models
from db.tables.models import Model
from models.serving.engine import Engine
from workers.leases import Lease
from workers.model_refs import model_ref, store_files
from workers.runtime import Runtime

log = logging.getLogger(__name__)


@contextmanager
def borrow_engine(
    runtime: Runtime, model: Model, load_options: Mapping[str, Any] | None, leases: Sequence[Lease]
) -> Iterator[Engine]:
    """Yield the model's engine, as `ModelPool.borrow`, and store its name and reason with the model if they are new.

    While the model is loaded, the jobs of `leases` show that they wait for it.
    """
    waited = False

    def show_wait() -> None:
        nonlocal waited
        waited = True
        runtime.leases.set_loading(leases, loading=True)

    with runtime.pool.borrow(model_ref(runtime, model, load_options), show_wait) as engine:
        if waited:
            runtime.leases.set_loading(leases, loading=False)
        if (model.engine, model.engine_reason) != (engine.name, engine.reason):
            with runtime.database.write() as session:
                models.set_engine(session, model.id, engine.name, engine.reason)
            log.info("%s is served by %s%s", model.name, engine.name, f": {engine.reason}" if engine.reason else "")
        store_files(runtime, model)
        yield engine
