"""Reading rows from JSON, JSONL, CSV and Parquet files. What a file is, its content says, not its name.

The builders of the library `datasets` are not used, because they guess types: they change CSV text such as `NA` or
`007`, and their errors about a value of the wrong type name no row.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from os import SEEK_END
from typing import IO, Any

from api.datasets import parquet
from api.datasets.csv_tables import csv_rows
from api.datasets.json_array import JsonArray
from api.datasets.json_objects import refuse_tables
from api.datasets.json_values import JsonDecoder
from api.datasets.limits import MAX_COLUMNS, MAX_NAME, Unreadable
from api.datasets.text import encoding_of, read_head, read_lines
from api.datasets.unchecked import Rows, Unchecked, check_names
from api.datasets.unpacking import Opening, unpack
from api.datasets.values import cut

_PARQUET = b"PAR1"


def open_rows(packed: IO[bytes], opening: Opening) -> Rows:
    """Return the rows of a file, which may be compressed. Raises Unreadable."""
    file = unpack(packed, opening)
    if file.read(len(_PARQUET)) == _PARQUET:
        return _parquet(file)
    encoding = encoding_of(file, opening.encoding)
    start = _first_character(file, encoding)
    if start == "[":
        return Rows(_names(JsonArray(file, encoding)), lambda _: JsonArray(file, encoding), kind="a JSON array")
    if start == "{":
        return _jsonl(file, encoding)
    return csv_rows(file, encoding)


def _first_character(file: IO[bytes], encoding: str) -> str:
    text = read_head(file, encoding)
    if "\0" in text:
        raise Unreadable("the file is neither text nor Parquet; send JSON, JSONL, CSV or Parquet")
    if text.isspace() or not text:
        raise Unreadable("the file is empty")
    return text.lstrip()[0]


def _jsonl(file: IO[bytes], encoding: str) -> Rows:
    def rows() -> Iterator[Unchecked]:
        file.seek(0)
        return _json_lines(file, encoding)

    refuse_tables(file, encoding)
    return Rows(_names(rows()), lambda _: rows(), kind="JSONL")


def _json_lines(file: IO[bytes], encoding: str) -> Iterator[Unchecked]:
    number, decoder = 0, JsonDecoder()
    for line_number, line in enumerate(read_lines(file, encoding), 1):
        if not line.isspace():
            number += 1
            yield Unchecked(_json_value(line, decoder), number, line_number)


def _json_value(line: str, decoder: JsonDecoder) -> Any:
    """Return the value, or a ValueError that says where the line is not JSON, or which key it has twice."""
    try:
        return decoder.decode(line)
    except json.JSONDecodeError as error:
        return ValueError(f"is not valid JSON: {error.msg} at character {error.pos + 1}: {cut(line[error.pos :])}")
    except ValueError:
        return ValueError("is not valid JSON: it has a number with thousands of digits")
    except RecursionError:
        return ValueError("is not valid JSON: its values are nested too deep")


def _parquet(file: IO[bytes]) -> Rows:
    def read(columns: Collection[str]) -> Iterator[Unchecked]:
        try:
            with parquet.lines(file, columns) as lines:
                for row in _json_lines(lines, "utf-8"):
                    yield row._replace(line=None)
        except parquet.Failed:
            raise Unreadable("the Parquet file can't be read, or needs too much memory") from None

    file.seek(-len(_PARQUET), SEEK_END)
    if file.read() != _PARQUET:  # recognizes a file that is cut off without starting a process
        raise Unreadable("the Parquet file is damaged or cut off; send it again")
    try:
        with parquet.lines(file, None) as lines:
            names = json.loads(lines.read(MAX_COLUMNS * MAX_NAME) or "[]")
    except (parquet.Failed, ValueError):
        raise Unreadable("the file is not a readable Parquet file") from None
    check_names(names)
    return Rows(
        names,
        read,
        lambda used: parquet.count_filled(file, [name for name in names if name not in used]),
        kind="Parquet",
    )


def _names(rows: Iterable[Unchecked]) -> list[str]:
    """Return the names that occur in any row, in the order of their first occurrence."""
    names: dict[str, None] = {}
    for row in rows:
        if isinstance(row.value, dict):
            names |= dict.fromkeys(row.value)
            if len(names) > MAX_COLUMNS:
                break
    check_names(list(names))
    return list(names)
