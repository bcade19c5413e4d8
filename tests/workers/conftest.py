import uuid
from collections.abc import Callable

import pytest
from sqlalchemy import update

from db import generations
from db.generations import GenerationRow
from db.session import Database
from db.tables import Generation

ReadGeneration = Callable[[uuid.UUID], GenerationRow]


@pytest.fixture
def read(database: Database) -> ReadGeneration:
    def read_one(job_id: uuid.UUID) -> GenerationRow:
        with database.read() as session:
            row = generations.get(session, job_id, owner=None)
        assert row is not None
        return row

    return read_one


@pytest.fixture
def ask(database: Database) -> Callable[..., None]:
    """Changes what a stored generation asks for."""

    def change(job_id: uuid.UUID, **values: object) -> None:
        with database.write() as session:
            session.execute(update(Generation).where(Generation.job_id == job_id).values(**values))

    return change
