"""Finding things by what clients call them: their id or their name."""

import uuid
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from db.tables.base import Table

Row = TypeVar("Row", bound=Table)


def as_id(reference: str) -> uuid.UUID | None:
    """Return the id that a text is, or None if it can only be a name."""
    try:
        return uuid.UUID(reference)
    except ValueError:
        return None


def find(session: Session, table: type[Row], reference: str, *conditions: ColumnElement[bool]) -> Row | None:
    """Return the row that meets the conditions and has this id, else the one with this name, or None.

    `table` has the columns `id` and `name`; the names of the rows that meet the conditions are unique.
    """
    columns: Any = table
    statement = select(table).where(*conditions)
    key = as_id(reference)
    row = None if key is None else session.scalars(statement.where(columns.id == key)).one_or_none()
    return row or session.scalars(statement.where(columns.name == reference)).one_or_none()
