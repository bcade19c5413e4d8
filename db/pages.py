"""Cursor pages: newest first, at the same cost at row 10 and at row 10 million."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Page(Generic[T]):
    """`next` is the id to pass as `after` for the following page; None on the last one."""

    items: Sequence[T]
    next: uuid.UUID | None

    def map(self, function: Callable[[T], U]) -> "Page[U]":
        return Page([function(item) for item in self.items], self.next)


def fetch_page(
    session: Session,
    statement: Select[Any],
    key: InstrumentedAttribute[uuid.UUID],
    *,
    limit: int,
    after: uuid.UUID | None,
) -> Page[Any]:
    """The rows of `statement` that come after the id `after`, as scalars or, with several entities, as rows.

    `key` is a UUIDv7 column that stands in the rows' first entity: its order is the order of creation.
    """
    if after is not None:
        statement = statement.where(key < after)
    result = session.execute(statement.order_by(key.desc()).limit(limit + 1)).all()
    rows = result[:limit]
    more = len(result) > limit
    single = len(statement.column_descriptions) == 1
    items = [row[0] for row in rows] if single else rows
    return Page(items, getattr(rows[-1][0], key.key) if more else None)
