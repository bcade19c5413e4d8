"""Pages of a list, newest first, found by a cursor: each page costs the same, however far down the list it is."""

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
    """A page of a list. `next` is the id to pass as `after` for the next page; it is None on the last page."""

    items: Sequence[T]
    next: uuid.UUID | None

    def map(self, function: Callable[[T], U]) -> "Page[U]":
        """Return the same page with `function` applied to each item."""
        return Page([function(item) for item in self.items], self.next)


def fetch_page(
    session: Session,
    statement: Select[Any],
    key: InstrumentedAttribute[uuid.UUID],
    *,
    limit: int,
    after: uuid.UUID | None,
) -> Page[Any]:
    """Run `statement` for one page: at most `limit` rows after the id `after`; with None, the first rows.

    `key` is a UUIDv7 column of the statement's first entity, so its order is the order of creation. The items are rows,
    or entities if the statement selects a single one.
    """
    if after is not None:
        statement = statement.where(key < after)
    result = session.execute(statement.order_by(key.desc()).limit(limit + 1)).all()
    rows = result[:limit]
    more = len(result) > limit
    single = len(statement.column_descriptions) == 1
    items = [row[0] for row in rows] if single else rows
    return Page(items, getattr(rows[-1][0], key.key) if more else None)
