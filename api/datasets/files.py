"""Files as rows: JSON, JSONL, CSV, Parquet.

Read here and not by `datasets`' builders, because these guess: CSV text such as `NA` or `007` would come out changed,
a row with values of another type ends as an error that names no row.
"""

import codecs
import csv
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

BATCH_ROWS = 1000
# A quote that is never closed makes one field of all that follows; module-wide in `csv`, which nothing else here uses.
csv.field_size_limit(10_000_000)


class Unreadable(Exception):
    """A file that holds no rows; the message says why, and repeats nothing of it."""


@dataclass(frozen=True)
class Rows:
    """The rows of a dataset before any check.

    `read`, given the columns that are wanted, goes through them from the beginning, as dictionaries if they are sound;
    a row that can't be read is a ValueError in its place. It raises Unreadable where the file itself is broken.
    """

    columns: list[str]
    read: Callable[[Collection[str]], Iterable[Any]]


def open_rows(file: IO[bytes], name: str) -> Rows:
    """The rows of a file, whose name says what it holds. Raises Unreadable."""
    reader = READERS.get(PurePath(name).suffix.lower())
    if reader is None:
        raise Unreadable(f"its name must end in one of: {', '.join(READERS)}")
    return reader(file)


def _json(file: IO[bytes]) -> Rows:
    try:
        rows = json.loads(file.read().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Unreadable(f"is not valid JSON: {error.msg} in line {error.lineno}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits; brackets in brackets in brackets
        raise Unreadable("is not JSON that can be read") from None
    if not isinstance(rows, list):
        raise Unreadable("must hold a JSON array of rows")
    return Rows(_names(rows), lambda _: rows)


def _jsonl(file: IO[bytes]) -> Rows:
    def rows() -> Iterator[Any]:
        for number, line in enumerate(_lines(file), 1):
            if not line.isspace():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError):
                    raise Unreadable(f"line {number} is not valid JSON") from None

    return Rows(_names(rows()), lambda _: rows())


def _csv(file: IO[bytes]) -> Rows:
    def rows() -> Iterator[list[str]]:
        reader = csv.reader(_lines(file), strict=True)
        try:
            yield from (row for row in reader if row)
        except csv.Error as error:
            raise Unreadable(f"line {reader.line_num} is not valid CSV: {error}") from None

    def read(_: Collection[str]) -> Iterator[Any]:
        following = rows()
        next(following, None)
        for row in following:
            if len(row) == len(header):
                yield dict(zip(header, row, strict=True))
            else:
                yield ValueError(f"has {len(row)} values, where the header names {len(header)} columns")

    header = next(rows(), [])
    _check_distinct(header)
    return Rows(header, read)


def _parquet(file: IO[bytes]) -> Rows:
    broken = (pa.ArrowException, OSError, ValueError, OverflowError)

    def unreadable() -> Unreadable:
        return Unreadable("is not a Parquet file that can be read")

    def read(columns: Collection[str]) -> Iterator[Any]:
        try:
            for batch in parquet.iter_batches(BATCH_ROWS, columns=list(columns)):
                yield from batch.to_pylist()
        except broken:
            raise unreadable() from None

    try:
        parquet = pq.ParquetFile(file)
        names = parquet.schema_arrow.names
    except broken:
        raise unreadable() from None
    _check_distinct(names)
    return Rows(names, read)


def _lines(file: IO[bytes]) -> Iterator[str]:
    file.seek(0)
    for number, line in enumerate(file, 1):
        try:
            yield (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode()
        except UnicodeDecodeError:
            raise Unreadable(f"line {number} is not UTF-8") from None


def _names(rows: Iterable[Any]) -> list[str]:
    """The names that any of the rows has, in order of their appearance."""
    return list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))


def _check_distinct(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise Unreadable("two of its columns have the same name")


READERS = {".json": _json, ".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
