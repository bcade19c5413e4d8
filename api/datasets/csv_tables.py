"""Reading CSV as programs write it: with commas, semicolons or tabs, and as Excel saves it."""

import csv
import re
from collections.abc import Collection, Iterator
from typing import IO

from api.datasets.limits import MAX_ROW_BYTES, Unreadable
from api.datasets.text import read_lines
from api.datasets.unchecked import Rows, Unchecked, check_names

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}

_SEP_LINE = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)

# A quote that is never closed turns the rest of the file into one field. The limit applies to the whole process, in
# which nothing else reads CSV.
csv.field_size_limit(MAX_ROW_BYTES)


def csv_rows(file: IO[bytes], encoding: str) -> Rows:
    """Return the rows of a CSV file. Columns without a name are called `column 1`, after their position.

    Rows without any value are left out, and so are empty values after the last column. Raises Unreadable.
    """
    separator, lines_before = _separator(file, encoding)

    def read(_: Collection[str]) -> Iterator[Unchecked]:
        rows = _rows(file, encoding, separator, lines_before)
        next(rows, None)
        for number, (line, values) in enumerate(rows, 1):
            if len(values) > len(header) and not any(map(str.strip, values[len(header) :])):
                del values[len(header) :]
            if len(values) == len(header):
                yield Unchecked(dict(zip(header, values, strict=True)), number, line)
            else:
                message = (
                    f"the row has {len(values)} values, but the header has {len(header)} columns; a value with "
                    f"{SEPARATORS.get(separator, 'separators')} or line breaks in it must be in quotes"
                )
                yield Unchecked(ValueError(message), number, line)

    _, names = next(_rows(file, encoding, separator, lines_before), (0, []))
    while names and not names[-1].strip():
        names.pop()
    header = [name if name.strip() else f"column {number}" for number, name in enumerate(names, 1)]
    check_names(header)
    return Rows(header, read, kind=f"CSV with {SEPARATORS.get(separator, f'the separator {separator!r}')}")


def _separator(file: IO[bytes], encoding: str) -> tuple[str, int]:
    """Return what separates the values, and how many lines are before the header."""
    file.seek(0)
    for number, line in enumerate(read_lines(file, encoding), 1):
        if sep_line := _SEP_LINE.fullmatch(line):
            return sep_line[1], number
        if line.strip():
            return max(SEPARATORS, key=lambda separator: len(next(csv.reader([line], delimiter=separator)))), 0
    return ",", 0


def _rows(file: IO[bytes], encoding: str, separator: str, lines_before: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that have something in them, the header first, each with the number of its first line."""
    size = 0

    def lines() -> Iterator[str]:
        nonlocal size
        file.seek(0)
        for number, line in enumerate(read_lines(file, encoding)):
            size += len(line)
            if size > MAX_ROW_BYTES:
                raise Unreadable(
                    f"the row that begins in line {first} is longer than {MAX_ROW_BYTES} characters; a quote in it may "
                    "never be closed"
                )
            if number >= lines_before:
                yield line

    reader = csv.reader(lines(), delimiter=separator, strict=True)
    first = lines_before + 1
    try:
        for values in reader:
            size = 0
            if any(map(str.strip, values)):
                yield first, values
            first = lines_before + reader.line_num + 1
    except csv.Error as error:
        raise Unreadable(
            f"line {lines_before + reader.line_num} is not valid CSV, in the row that begins in line {first}: {error}; "
            "a value with quotes in it must be in quotes, and each quote in it written twice"
        ) from None
