"""The rows of a file before they are checked."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from api.datasets.limits import MAX_COLUMNS, MAX_NAME, Unreadable
from api.datasets.values import cut


class Unchecked(NamedTuple):
    """A row and where it is. Rows and lines are counted from 1.

    The value should be a dictionary, but can be any JSON value; a ValueError stands for a row that can't be read.
    """

    value: Any
    number: int
    line: int | None = None
    file: str = ""

    @property
    def place(self) -> str:
        """The row's place as errors name it: `row 3 (line 4)`."""
        line = f" (line {self.line})" if self.line else ""
        return f"{self.file}{', ' if self.file else ''}row {self.number}{line}"


@dataclass(frozen=True)
class Rows:
    """The unchecked rows of a file.

    `read(columns)` iterates over the rows from the start. Raises Unreadable if the file itself is invalid.

    `count_filled(columns)` counts the rows that have something in each column that `read(columns)` leaves out. A count
    is None if it would need too much memory. `kind` says what the file was read as.
    """

    columns: list[str]
    read: Callable[[Collection[str]], Iterable[Unchecked]]
    count_filled: Callable[[Collection[str]], dict[str, int | None]] = lambda _: {}
    kind: str = ""


def check_names(names: list[str]) -> None:
    """Raise Unreadable if there are too many columns, or two of the same name."""
    if len(names) > MAX_COLUMNS:
        raise Unreadable(f"the file has more than {MAX_COLUMNS} columns")
    if any(len(name) > MAX_NAME for name in names):
        raise Unreadable(f"a column's name is longer than {MAX_NAME} characters; is the first line a header?")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise Unreadable(f"two columns have the same name {cut(name)}; rename one of them")
        seen.add(name)
