"""Rows for tests of every table that the database has, including tables that a later kind of job adds."""

import uuid
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from db.tables.base import Table

PLACEHOLDERS: dict[type, object] = {  # `object` is what JSON columns have as their Python type
    str: "x", int: 1, float: 0.5, bool: False, object: {}, datetime: datetime(2020, 1, 1, tzinfo=UTC)
}  # fmt: skip


def insert_row(session: Session, table: sa.Table, **values: Any) -> None:
    """Insert a row with these values, and with a placeholder in every other column that may not be null.

    A value for a column that the table does not have is ignored.
    """
    row = {column.name: _placeholder(column) for column in table.columns if not column.nullable}
    session.execute(sa.insert(table), [row | {name: value for name, value in values.items() if name in table.columns}])


def insert_job(session: Session, **values: Any) -> uuid.UUID:
    """Insert a job, as `insert_row` does, and return its id."""
    job_id: uuid.UUID = values.setdefault("id", uuid7())
    insert_row(session, _table("jobs"), **values)
    return job_id


def tables_with_a_foreign_key(referenced: str) -> list[sa.Table]:
    """Return all tables that have a foreign key to the table of this name."""
    tables = _table(referenced).metadata.sorted_tables
    return [table for table in tables if any(key.column.table.name == referenced for key in table.foreign_keys)]


def _placeholder(column: sa.Column[Any]) -> object:
    kind = getattr(column.type, "impl_instance", column.type).python_type  # of a decorator: the type that it stores
    return uuid7() if kind is uuid.UUID else PLACEHOLDERS[kind]


def _table(name: str) -> sa.Table:
    return Table.metadata.tables[name]
