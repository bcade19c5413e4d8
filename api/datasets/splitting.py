"""Splitting checked rows into a train and a test split, each stored as a Parquet file."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from api.datasets.chats import characters_of
from api.errors import invalid
from db.vocabulary import Split
from models.prompts.rows import COLUMNS, Row, columns_of, row_of

GROUP_ROWS = 1000
"""The number of rows in a row group of a file, which is what must be read for one page of rows."""

BATCH_CHARACTERS = 10_000_000

_SCHEMA = pa.schema([(column, pa.string()) for column in COLUMNS])
_CHAT_SCHEMA = pa.schema([*_SCHEMA, ("context", pa.string()), ("learn", pa.bool_())])


@dataclass(frozen=True)
class SplitFiles:
    """The result of `write_splits`. `sha256` is the hash of the rows and of how they are split, not of the files."""

    sha256: str
    train_rows: int
    test_rows: int
    overlapping_rows: int


def write_splits(
    rows: Iterable[Row], folder: Path, *, test_fraction: float, seed: int, test_rows: Iterable[Row] | None = None
) -> SplitFiles | None:
    """Write `train.parquet` and `test.parquet` into an empty folder. Returns None if there are no rows.

    With `test_rows`, these are the test split, and `rows` the train split, both in their order. Else `test_fraction` of
    `rows` become the test split; if it is 0, all rows go to the train split, in their order. Only a batch of rows is in
    memory, and a hash of every row. Raises a 422 Problem about `test_fraction` if it leaves the train split empty, and
    whatever `rows` and `test_rows` raise.
    """
    with TemporaryDirectory(dir=folder.parent) as work:  # `datasets` writes files of its own beside the rows
        everything, has_chats = _stored(rows, Path(work) / "rows.arrow")
        if not len(everything):
            return None
        if test_rows is not None:
            test, chats_in_test = _stored(test_rows, Path(work) / "test.arrow")
            splits = {Split.TRAIN: everything, Split.TEST: test}
            has_chats = has_chats or chats_in_test
        elif test_fraction:
            splits = _split(everything, test_fraction, seed)
        else:
            splits = {Split.TRAIN: everything, Split.TEST: everything.select(())}
        if not has_chats:
            splits = {name: split.select_columns(list(COLUMNS)) for name, split in splits.items()}
        return _write_files(splits, folder, _CHAT_SCHEMA if has_chats else _SCHEMA)


def _stored(rows: Iterable[Row], file: Path) -> tuple[datasets.Dataset, bool]:
    """Write the rows to a file, and return them from there, and whether any of them is a chat."""
    has_chats = _write_stream(rows, file)
    return datasets.Dataset.from_file(str(file)), has_chats


def _write_stream(rows: Iterable[Row], file: Path) -> bool:
    """Write the rows. Returns whether any of them is a chat."""
    has_chats = False
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, _CHAT_SCHEMA) as writer:
        for batch in _in_batches(rows):
            writer.write_batch(pa.RecordBatch.from_pylist(list(map(columns_of, batch)), _CHAT_SCHEMA))
            has_chats = has_chats or any(row.is_chat for row in batch)
    return has_chats


def _in_batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += characters_of(row)
        if len(batch) == GROUP_ROWS or characters > BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _split(rows: datasets.Dataset, test_fraction: float, seed: int) -> dict[Split, datasets.Dataset]:
    if math.ceil(test_fraction * len(rows)) >= len(rows):  # the number of test rows that `datasets` chooses
        raise invalid("test_fraction", f"no rows would be left in the train split; the dataset has {len(rows)}")
    split = rows.train_test_split(test_size=test_fraction, shuffle=True, seed=seed)
    return {name: split[name.value] for name in Split}


def _write_files(splits: dict[Split, datasets.Dataset], folder: Path, schema: pa.Schema) -> SplitFiles:
    content = hashlib.sha256()
    if schema is _CHAT_SCHEMA:
        content.update(b"chats\n")
    seen: set[bytes] = set()
    overlapping = 0
    for name in (Split.TRAIN, Split.TEST):
        rows = splits[name]
        content.update(f"{name.value} {len(rows)}\n".encode())
        with pq.ParquetWriter(folder / f"{name.value}.parquet", schema) as writer:
            for table in _batches(rows, schema):
                writer.write_table(table)
                for values in table.to_pylist():
                    _update(content, map(str, values.values()))
                    if name == Split.TEST:
                        overlapping += _without_whitespace(row_of(values)) in seen
                    elif len(splits[Split.TEST]):
                        seen.add(_without_whitespace(row_of(values)))
    return SplitFiles(content.hexdigest(), len(splits[Split.TRAIN]), len(splits[Split.TEST]), overlapping)


def _batches(rows: datasets.Dataset, schema: pa.Schema) -> Iterator[pa.Table]:
    for start in range(0, len(rows), GROUP_ROWS):
        yield rows.with_format("arrow")[start : start + GROUP_ROWS].cast(schema)


def _update(content: "hashlib._Hash", texts: Iterable[str]) -> None:
    for text in texts:
        data = text.encode()
        content.update(f"{len(data)}\n".encode())
        content.update(data)


def _without_whitespace(row: Row) -> bytes:
    """Return a hash of a row's texts that is the same for rows that differ only in the amount of whitespace."""
    texts = [row.instruction, row.input, row.output]
    for message in row.context:
        texts += [message.role, message.content]
    normalized = "\0".join(" ".join(text.split()) for text in texts)
    return hashlib.blake2b(normalized.encode(), digest_size=16).digest()
