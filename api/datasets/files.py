"""Files as rows: JSON, JSONL, CSV, Parquet.

Read here and not by `datasets`' builders, because these guess: CSV text such as `NA` or `007` would come out changed,
a row with values of another type ends as an error that names no row.
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

# A quote that is never closed makes one field of all that follows; module-wide in `csv`, which nothing else here uses.
csv.field_size_limit(MAX_ROW_BYTES)


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
        following = rows()
        next(following, None)
        for row in following:
            if len(row) == len(header):
                yield dict(zip(header, row, strict=True))
            else:
                yield ValueError(f"has {len(row)} values, where the header names {len(header)} columns")

    header = next(rows(), [])
    _check_names(header)
    return Rows(header, read)


def _parquet(file: IO[bytes]) -> Rows:
    def read(columns: Collection[str]) -> Iterator[Any]:
        try:
            with parquet.lines(file, columns) as lines:
                yield from _json_lines(lines)
        except parquet.Failed:
            raise Unreadable(
                "is not a Parquet file that can be read, or not in the memory that there is for it"
            ) from None

    file.seek(-min(4, file.seek(0, SEEK_END)), SEEK_END)
    if file.read() != b"PAR1":  # most of what is no such file, without a process
        raise Unreadable("is not a Parquet file that can be read")
    try:
        with parquet.lines(file, None) as lines:
            names = json.loads(lines.read(MAX_COLUMNS * MAX_NAME) or "[]")
    except (parquet.Failed, ValueError):
        raise Unreadable("is not a Parquet file that can be read") from None
    _check_names(names)
    return Rows(names, read)


def _lines(file: IO[bytes]) -> Iterator[str]:
    """The lines from where the file stands."""
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
    """The names that any of the rows has, in order of their appearance."""
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
        raise Unreadable(f"has more than {MAX_COLUMNS} columns")
    if any(len(name) > MAX_NAME for name in names):
        raise Unreadable(f"the name of a column is longer than {MAX_NAME} characters")
    if len(set(names)) < len(names):
        raise Unreadable("two of its columns have the same name")


READERS = {".json": _json, ".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
