"""Reading rows from JSON, JSONL, CSV and Parquet files.

The builders of the library `datasets` are not used, because they guess types: they change CSV text such as `NA` or
`007`, and their errors about a value of the wrong type name no row.
"""

import codecs
import csv
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from os import SEEK_END
from pathlib import PurePath
from typing import IO, Any

from api.datasets import parquet
from api.datasets.json_array import JsonArray
from api.datasets.limits import MAX_COLUMNS, MAX_NAME, MAX_ROW_BYTES, Unreadable

# A quote that is never closed turns the rest of the file into one field. The limit applies to the whole process, in
# which nothing else reads CSV.
csv.field_size_limit(MAX_ROW_BYTES)


@dataclass(frozen=True)
class Rows:
    """The unchecked rows of a file.

    `read(columns)` iterates over the rows from the start. A row should be a dictionary, but can be any JSON value; a
    ValueError stands for a row that can't be read. Raises Unreadable if the file itself is invalid.

    `count_filled(columns)` counts the rows that have something in each column that `read(columns)` leaves out. A count
    is None if it would need too much memory.
    """

    columns: list[str]
    read: Callable[[Collection[str]], Iterable[Any]]
    count_filled: Callable[[Collection[str]], dict[str, int | None]] = lambda _: {}


def open_rows(file: IO[bytes], name: str) -> Rows:
    """Return the rows of a file. The extension of `name` selects the format. Raises Unreadable."""
    reader = READERS.get(PurePath(name).suffix.lower())
    if reader is None:
        raise Unreadable(f"the file's name must end with one of: {', '.join(READERS)}")
    return reader(file)


def _json(file: IO[bytes]) -> Rows:
    return Rows(_names(JsonArray(file)), lambda _: JsonArray(file))


def _jsonl(file: IO[bytes]) -> Rows:
    def rows() -> Iterator[Any]:
        file.seek(0)
        return _json_lines(file)

    return Rows(_names(rows()), lambda _: rows())


def _json_lines(file: IO[bytes]) -> Iterator[Any]:
    for number, line in enumerate(_lines(file), 1):
        if not line.isspace():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                raise Unreadable(f"line {number} is not valid JSON") from None


def _csv(file: IO[bytes]) -> Rows:
    def rows() -> Iterator[list[str]]:
        file.seek(0)
        size = 0

        def lines() -> Iterator[str]:
            nonlocal size
            for line in _lines(file):
                size += len(line)
                if size > MAX_ROW_BYTES:
                    raise Unreadable(f"a row is longer than {MAX_ROW_BYTES} bytes")
                yield line

        reader = csv.reader(lines(), strict=True)
        try:
            for row in reader:
                size = 0
                if row:
                    yield row
        except csv.Error as error:
            raise Unreadable(f"line {reader.line_num} is not valid CSV: {error}") from None

    def read(_: Collection[str]) -> Iterator[Any]:
        data_rows = rows()
        next(data_rows, None)
        for row in data_rows:
            if len(row) == len(header):
                yield dict(zip(header, row, strict=True))
            else:
                yield ValueError(f"the row has {len(row)} values, but the header has {len(header)} columns")

    header = next(rows(), [])
    _check_names(header)
    return Rows(header, read)


def _parquet(file: IO[bytes]) -> Rows:
    def read(columns: Collection[str]) -> Iterator[Any]:
        try:
            with parquet.lines(file, columns) as lines:
                yield from _json_lines(lines)
        except parquet.Failed:
            raise Unreadable("the Parquet file can't be read, or needs too much memory") from None

    file.seek(-min(4, file.seek(0, SEEK_END)), SEEK_END)
    if file.read() != b"PAR1":  # recognizes most other files without starting a process
        raise Unreadable("the file is not a readable Parquet file")
    try:
        with parquet.lines(file, None) as lines:
            names = json.loads(lines.read(MAX_COLUMNS * MAX_NAME) or "[]")
    except (parquet.Failed, ValueError):
        raise Unreadable("the file is not a readable Parquet file") from None
    _check_names(names)
    return Rows(names, read, lambda used: parquet.count_filled(file, [name for name in names if name not in used]))


def _lines(file: IO[bytes]) -> Iterator[str]:
    """Yield the lines from the file's current position."""
    number = 0
    while line := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        if len(line) > MAX_ROW_BYTES:
            raise Unreadable(f"line {number} is longer than {MAX_ROW_BYTES} bytes")
        try:
            yield (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode()
        except UnicodeDecodeError:
            raise Unreadable(f"line {number} is not UTF-8") from None


def _names(rows: Iterable[Any]) -> list[str]:
    """Return the names that occur in any row, in the order of their first occurrence."""
    names: dict[str, None] = {}
    for row in rows:
        if isinstance(row, dict):
            names |= dict.fromkeys(row)
            if len(names) > MAX_COLUMNS:
                break
    _check_names(list(names))
    return list(names)


def _check_names(names: list[str]) -> None:
    if len(names) > MAX_COLUMNS:
        raise Unreadable(f"the file has more than {MAX_COLUMNS} columns")
    if any(len(name) > MAX_NAME for name in names):
        raise Unreadable(f"a column's name is longer than {MAX_NAME} characters")
    if len(set(names)) < len(names):
        raise Unreadable("two columns have the same name")


READERS = {".json": _json, ".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
