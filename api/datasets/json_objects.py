"""Recognizing a JSON file that is one object, as pandas and other programs write tables, to say what it is."""

import json
import re
from collections.abc import Mapping
from typing import IO, Any

from api.datasets.limits import MAX_ROW_BYTES, Unreadable
from api.datasets.text import read_head, read_lines
from api.datasets.values import cut

_ROW_FIELDS = {"instruction", "output", "prompt", "completion", "messages", "conversations"}
_RECORDS = "`df.to_json(file, orient='records', lines=True)` writes rows"
_HEAD = re.compile(r'\s*\{\s*("(?:[^"\\]|\\.){0,500}")\s*:\s*[\[{]')


def refuse_tables(file: IO[bytes], encoding: str) -> None:
    """Raise Unreadable, with what the file is, if a file that begins with an object does not have a row a line."""
    file.seek(0)
    lines = (line for line in read_lines(file, encoding) if not line.isspace())
    try:
        first, second = next(lines, ""), next(lines, "")
    except Unreadable:  # such as a line that is too long; a table can be one of hundreds of megabytes
        first, second = read_head(file, encoding), ""
    try:
        value, one_line = json.loads(first), True
    except (ValueError, RecursionError):
        if second.startswith("{"):
            return  # an invalid first row
        value, one_line = _whole(file, encoding), False
    if isinstance(value, dict) and not (one_line and second) and (kind := _table(value)):
        raise Unreadable(kind)
    if not one_line and isinstance(value, dict):
        raise Unreadable(
            "the file has JSON objects that are written over several lines; write each on one line, as `jq -c .` does, "
            "or all of them in an array"
        )


def _whole(file: IO[bytes], encoding: str) -> Any:
    """Return the value with which the file begins, or None if it is invalid. Raises Unreadable for a large one."""
    file.seek(0)
    data = file.read(MAX_ROW_BYTES + 1)
    try:
        return json.JSONDecoder().raw_decode(data.decode(encoding, errors="ignore").lstrip())[0]
    except (ValueError, RecursionError):
        if (match := _HEAD.match(read_head(file, encoding))) and len(data) > MAX_ROW_BYTES:
            raise Unreadable(
                f"the file is one JSON object, which has something large in the field {match[1]}; send the rows alone, "
                f"as an array or one a line. From pandas, {_RECORDS}"
            ) from None
        return None


def _table(value: Mapping[str, Any]) -> str | None:
    """Return what an object that is not a row is, and what to do; None if it may be a row."""
    values = list(value.values())
    if isinstance(value.get("data"), list) and ("columns" in value or "schema" in value):
        orient = "split" if "columns" in value else "table"
        return f"the file is a table that pandas wrote with orient='{orient}'; {_RECORDS}"
    if values and all(isinstance(column, dict) and column for column in values):
        return (
            "the file is one JSON object of columns, each with its values by row number, as pandas' `to_json` writes "
            f"by default; {_RECORDS}"
        )
    if len(values) > 1 and all(isinstance(column, list) and _are_plain(column) for column in values):
        return f"the file is one JSON object of columns, each a list of its values; {_RECORDS}"
    lists = [name for name, rows in value.items() if isinstance(rows, list) and rows and isinstance(rows[0], dict)]
    if lists and not _ROW_FIELDS & {name.strip().lower() for name in value} and not _is_chat(value[lists[0]]):
        names = ", ".join(map(cut, lists[:5]))
        return (
            f"the file is one JSON object that has rows in the field {names}; send one list of rows alone, which "
            f"`jq '.[{json.dumps(lists[0])}]' FILE` prints"
        )
    return None


def _are_plain(values: list[Any]) -> bool:
    return bool(values) and not any(isinstance(value, list | dict) for value in values)


def _is_chat(values: list[Any]) -> bool:
    return any(isinstance(value, dict) and ("role" in value or "from" in value) for value in values)
