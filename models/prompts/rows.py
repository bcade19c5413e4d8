"""Dataset rows. Imports no torch, since baselines need rows but no model."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """A turn of a chat.

    `learn` is False for an assistant's turn that the loss leaves out. It has no meaning for other roles.
    """

    role: Role
    content: str
    learn: bool = True


@dataclass(frozen=True)
class Row:
    """A dataset row: what to do, the optional data to do it with, and the page that a model should write.

    In a chat, these are the last turn of the user and the last turn of the assistant. `context` has the turns before
    them, in order: an optional system message, then user and assistant in turn. `learn` is False if the loss leaves
    `output` out.
    """

    instruction: str
    input: str
    output: str
    context: tuple[Message, ...] = ()
    learn: bool = True

    @property
    def is_chat(self) -> bool:
        """Whether the row has more than an instruction, an input and an output."""
        return bool(self.context) or not self.learn


COLUMNS = ("instruction", "input", "output")
CHAT_COLUMNS = ("context", "learn")
"""Columns that only files with chats have: the turns as JSON text, empty if there are none, and a Boolean."""


def read_rows(file: Path) -> Iterator[Row]:
    """Yield the rows of a Parquet file with the columns of COLUMNS and optionally CHAT_COLUMNS, in the file's order.

    Holds 100 rows in memory at a time.
    """
    import pyarrow.parquet as pq  # loads slowly, and the API needs only the types of this module to start

    with pq.ParquetFile(file) as parquet:
        columns = [name for name in (*COLUMNS, *CHAT_COLUMNS) if name in parquet.schema_arrow.names]
        for batch in parquet.iter_batches(batch_size=100, columns=columns):
            for values in batch.to_pylist():
                yield row_of(values)


def row_of(values: Mapping[str, Any]) -> Row:
    """Return the row that has these values in its columns: the inverse of `columns_of`."""
    context = values.get("context")
    return Row(
        values["instruction"],
        values["input"],
        values["output"],
        context=tuple(Message(**message) for message in json.loads(context)) if context else (),
        learn=values.get("learn", True),
    )


def columns_of(row: Row) -> dict[str, Any]:
    """Return a row's values by column: those of COLUMNS and of CHAT_COLUMNS."""
    context = json.dumps([asdict(message) for message in row.context], ensure_ascii=False) if row.context else ""
    return {**{name: getattr(row, name) for name in COLUMNS}, "context": context, "learn": row.learn}
