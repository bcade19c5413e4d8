import logging
from collections.abc import Iterator

import pytest

from db.queries import models
from db.session import Database
from db.vocabulary import ModelSource
from models.loading.refs import ModelRef, Source
from models.serving.pool import ModelPool
from pagewright.settings import get_settings
from tests.databases import on_sqlite
from workers.inference.preloading import preload
from workers.roles import WorkerRole
from workers.runtime import Runtime

pytestmark = on_sqlite

STARTER = ModelRef(Source.BUNDLED, "starter")


@pytest.fixture
def runtime(database: Database) -> Iterator[Runtime]:
    pool = ModelPool()
    yield Runtime(get_settings(), database, WorkerRole.INFERENCE, pool)
    pool.close()


def test_a_model_that_can_not_be_loaded_is_logged_and_the_next_is_loaded(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    with runtime.database.write() as session:
        assert models.add(session, "missing", ModelSource.LOCAL, "not-there", None)
    with caplog.at_level(logging.INFO, "workers.inference.preloading"):
        preload(runtime, ["nobody", "missing", "starter"])
    lines = [record for record in caplog.records if record.name == "workers.inference.preloading"]
    unknown, missing, loaded = (record.getMessage() for record in lines)
    assert unknown == (
        "nobody is not preloaded: PAGEWRIGHT_PRELOAD names it, but no model with this name is registered"
    )
    assert missing.startswith("missing is not preloaded: ")
    assert "the folder does not exist" in missing
    assert [record.levelname for record in lines] == ["ERROR", "ERROR", "INFO"]
    assert loaded == "starter is preloaded"

    waits: list[str] = []
    with runtime.pool.borrow(STARTER, lambda: waits.append("load")):
        assert waits == []


def test_a_worker_that_shuts_down_loads_no_more_models(runtime: Runtime) -> None:
    runtime.leases.draining = True
    preload(runtime, ["starter"])
    assert runtime.pool.statistics().models == 0
