"""The state of an inference worker, with a pool that the tests of a file share."""

from collections.abc import Iterator

import pytest

from db.session import Database
from models.serving.pool import ModelPool
from pagewright.settings import get_settings
from workers.roles import WorkerRole
from workers.runtime import Runtime


@pytest.fixture(scope="module")
def pool() -> Iterator[ModelPool]:
    pool = ModelPool()
    yield pool
    pool.close()


@pytest.fixture
def runtime(database: Database, pool: ModelPool) -> Runtime:
    return Runtime(get_settings(), database, WorkerRole.INFERENCE, pool)
