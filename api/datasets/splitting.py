"""Checked rows into a training and a test split, each a Parquet file."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from api.datasets.rows import Triple
from api.errors import invalid
from db.vocabulary import Split

GROUP_ROWS = 1000
"""Rows in each of a file's row groups but the last: what is read for one page of rows."""

BATCH_CHARACTERS = 10_000_000

_SCHEMA = pa.schema([(column, pa.string()) for column in Triple._fields])


@dataclass(frozen=True)
class SplitFiles:
    """What `write_splits` wrote. `sha256` is that of the rows and how they are split, however Parquet stores them."""

    sha256: str
    train_rows: int
    test_rows: int
    overlapping_rows: int


def write_splits(rows: Iterable[Triple], folder: Path, *, test_fraction: float, seed: int) -> SplitFiles | None:
    """Write `train.parquet` and `test.parquet` into an empty folder; None if there are no rows.

    Without a `test_fraction` all rows are training rows, in their order. Holds a batch of rows in memory, and a hash
    of each. Raises a 422 Problem about `test_fraction` if it leaves a split without rows, and what `rows` raises.
    """
    with TemporaryDirectory(dir=folder.parent) as work:  # the library keeps files of its own beside the rows
        whole = Path(work) / "rows.arrow"
        if not _write_stream(rows, whole):
            return None
        everything = datasets.Dataset.from_file(str(whole))
        if test_fraction:
            splits = _split(everything, test_fraction, seed)
        else:
            splits = {Split.TRAIN: everything, Split.TEST: everything.select(())}
        return _write_files(splits, folder)


def _write_stream(rows: Iterable[Triple], file: Path) -> int:
    count = 0
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, _SCHEMA) as writer:
        for batch in _in_batches(rows):
            columns = [pa.array(column, pa.string()) for column in zip(*batch, strict=True)]
            writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))
            count += len(batch)
    return count


def _in_batches(rows: Iterable[Triple]) -> Iterator[list[Triple]]:
    batch: list[Triple] = []
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
    if math.ceil(test_fraction * len(rows)) >= len(rows):  # how many the library takes for the test
        raise invalid("test_fraction", f"leaves no rows to train on; the dataset has {len(rows)}")
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
    """A row's fingerprint, the same for rows that differ in how much whitespace they have, and where it ends."""
    normalized = "\0".join(" ".join(text.split()) for text in row)
    return hashlib.blake2b(normalized.encode(), digest_size=16).digest()
