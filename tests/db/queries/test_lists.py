"""A page of a list costs the same however many jobs there are: it is read in the order of an index, and not sorted."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from db.queries import generations, jobs
from db.queries.job_names import Named
from db.session import Database
from tests.databases import on_sqlite

EVERY: dict[str, Any] = {
    "owner": None,
    "status": None,
    "batch_id": None,
    "named": Named(),
    "limit": 20,
    "after": None,
}
FROM_THE_MIDDLE = {"after": uuid.UUID(int=1)}
STARTER = {"named": Named(model="starter")}

LISTS: dict[str, Callable[[Session], object]] = {
    "jobs": lambda session: jobs.page(session, kind=None, **EVERY),
    "generations": lambda session: generations.page(session, **EVERY),
    "generations, from the middle": lambda session: generations.page(session, **EVERY | FROM_THE_MIDDLE),
}


def plans(database: Database, query: Callable[[Session], object]) -> list[str]:
    """Return the steps by which SQLite runs the statements of a query."""
    statements: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", record)
    with database.read() as session:
        query(session)
    event.remove(database.engine, "before_cursor_execute", record)
    with database.engine.connect() as connection:
        return [
            step[3]
            for statement, parameters in statements
            if "SELECT" in statement
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]


@on_sqlite
@pytest.mark.parametrize("name", LISTS)
def test_a_page_is_read_in_the_order_of_an_index(database: Database, name: str) -> None:
    steps = plans(database, LISTS[name])
    assert any("INDEX" in step for step in steps)
    assert not [step for step in steps if "TEMP B-TREE" in step], steps


@on_sqlite
def test_jobs_of_a_model_are_read_by_an_index_of_each_kind_s_table(database: Database) -> None:
    for steps in (
        plans(database, lambda session: jobs.page(session, kind=None, **EVERY | STARTER)),
        plans(database, lambda session: generations.page(session, **EVERY | STARTER)),
    ):
        [by_model] = [step for step in steps if "ix_generations_model_id_job_id" in step]
        assert by_model.startswith("SEARCH generations USING"), steps
        assert not any(step in ("SCAN jobs", "SCAN generations") for step in steps), steps


@on_sqlite
def test_a_list_that_is_sorted_would_be_seen(database: Database) -> None:
    steps = plans(database, lambda session: session.execute(text("SELECT * FROM models ORDER BY location")).all())
    assert any("TEMP B-TREE" in step for step in steps)
