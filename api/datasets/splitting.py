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

from api.datasets.rows import Row
from api.errors import invalid
from db.vocabulary import Split

GROUP_ROWS = 1000
"""The number of rows in a row group of a file, which is what must be read for one page of rows."""

BATCH_CHARACTERS = 10_000_000

_SCHEMA = pa.schema([(column, pa.string()) for column in Row._fields])


@dataclass(frozen=True)
class SplitFiles:
    """The result of `write_splits`. `sha256` is the hash of the rows and of how they are split, not of the files."""

    sha256: str
    train_rows: int
    test_rows: int
    overlapping_rows: int


def write_splits(rows: Iterable[Row], folder: Path, *, test_fraction: float, seed: int) -> SplitFiles | None:
    """Write `train.parquet` and `test.parquet` into an empty folder. Returns None if there are no rows.

    If `test_fraction` is 0, all rows go to the train split, in their order. Only a batch of rows is in memory, and a
    hash of every row. Raises a 422 Problem about `test_fraction` if it leaves the train split empty, and whatever
    `rows` raises.
    """
    with TemporaryDirectory(dir=folder.parent) as work:  # `datasets` writes files of its own beside the rows
        whole = Path(work) / "rows.arrow"
        if not _write_stream(rows, whole):
            return None
        everything = datasets.Dataset.from_file(str(whole))
        if test_fraction:
            splits = _split(everything, test_fraction, seed)
        else:
            splits = {Split.TRAIN: everything, Split.TEST: everything.select(())}
        return _write_files(splits, folder)


def _write_stream(rows: Iterable[Row], file: Path) -> int:
    count = 0
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, _SCHEMA) as writer:
        for batch in _in_batches(rows):
            columns = [pa.array(column, pa.string()) for column in zip(*batch, strict=True)]
            writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))
            count += len(batch)
    return count


def _in_batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += sum(map(len, row))
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


def _write_files(splits: dict[Split, datasets.Dataset], folder: Path) -> SplitFiles:
    content = hashlib.sha256()
    seen: set[bytes] = set()
    overlapping = 0
    for name in (Split.TRAIN, Split.TEST):
        rows = splits[name]
        content.update(f"{name.value} {len(rows)}\n".encode())
        with pq.ParquetWriter(folder / f"{name.value}.parquet", _SCHEMA) as writer:
            for table in _batches(rows):
                writer.write_table(table)
                for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
                    _update(content, row)
                    if name == Split.TEST:
                        overlapping += _without_whitespace(row) in seen
                    elif len(splits[Split.TEST]):
                        seen.add(_without_whitespace(row))
    return SplitFiles(content.hexdigest(), len(splits[Split.TRAIN]), len(splits[Split.TEST]), overlapping)


def _batches(rows: datasets.Dataset) -> Iterator[pa.Table]:
    for start in range(0, len(rows), GROUP_ROWS):
        yield rows.with_format("arrow")[start : start + GROUP_ROWS].cast(_SCHEMA)


def _update(content: "hashlib._Hash", row: Iterable[str]) -> None:
    for text in row:
        data = text.encode()
        content.update(f"{len(data)}\n".encode())
        content.update(data)


def _without_whitespace(row: Iterable[str]) -> bytes:
    """Return a hash of a row that is the same for rows that differ only in the amount of whitespace."""
    normalized = "\0".join(" ".join(text.split()) for text in row)
    return hashlib.blake2b(normalized.encode(), digest_size=16).digest()
