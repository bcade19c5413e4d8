"""Choosing the columns of a file, and checking every row."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from api.datasets.chats import (
    RowError,
    characters_of,
    check_length,
    read_history,
    read_messages,
    read_prompt_and_completion,
    read_system,
    row_of_chat,
    text_error,
    unused_fields,
)
from api.datasets.filled import is_filled
from api.datasets.limits import MAX_COLUMNS, MAX_ROWS, Unreadable
from api.datasets.unchecked import Rows
from api.datasets.values import cut, described
from api.errors import MAX_FIELD_ERRORS, FieldError, Problem, ProblemType, invalid, shown
from models.prompts.rows import COLUMNS, Row

SHOWN_COLUMNS = 20
MAX_UNUSED = MAX_COLUMNS + 100
"""The most unused columns and fields of messages that are counted. The fields may have other names in every row."""

# The columns of a file for the parts of a row, if the request does not name them: those that a format must have, and
# those that it may have. The first format that fits is used.
_DEFAULT_COLUMNS: tuple[tuple[dict[str, str], tuple[str, ...]], ...] = (
    ({"instruction": "instruction", "output": "output"}, ("input", "system", "history")),
    ({"instruction": "prompt", "output": "completion"}, ("system",)),
    ({"messages": "messages"}, ("system",)),
    ({"messages": "conversations"}, ("system",)),
)


@dataclass
class Report:
    """What is said of rows beside the rows themselves.

    `unused` has the columns and the fields of messages that no row was made of, each with the number of rows that have
    something in it, or None if they could not be counted. `skipped` counts the invalid rows that were left out, and
    `errors` says what is wrong with the first of them.
    """

    unused: dict[str, int | None] = field(default_factory=dict)
    skipped: int = 0
    errors: list[FieldError] = field(default_factory=list)


def choose_columns(rows: Rows, requested: Mapping[str, str] | None) -> dict[str, str]:
    """Return the file's column for each part of a row: the `requested` ones, or else columns with usual names.

    A name that no column has exactly is also found in other capitals and with spaces around it. Raises a 422 Problem
    about `columns` if the file does not have them.
    """
    if not rows.columns:  # the file has no rows, or no row that is an object; `check_rows` says so
        return dict(requested or _DEFAULT_COLUMNS[0][0])
    if requested is not None:
        return _requested_columns(rows, requested)
    for required, optional in _DEFAULT_COLUMNS:
        found = {part: _find(f"columns.{part}", column, rows) for part, column in required.items()}
        chosen = {part: column for part, column in found.items() if column is not None}
        if len(chosen) == len(required):
            for name in optional:
                if column := _find(f"columns.{name}", name, rows):
                    chosen[name] = column
            return chosen
    raise invalid(
        "columns",
        f"the columns for instruction and output, or for messages, must be named, such as "
        f'{{"instruction": "question", "output": "answer"}}; {_list(rows)}',
    )


def _requested_columns(rows: Rows, requested: Mapping[str, str]) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for part, name in requested.items():
        column = _find(f"columns.{part}", name, rows)
        if column is None:
            raise invalid(f"columns.{part}", f"there is no column {cut(name)}; {_list(rows)}")
        for other, taken in chosen.items():
            if taken == column:
                raise invalid(f"columns.{part}", f"names the column {cut(column)}, which `{other}` names too")
        chosen[part] = column
    return chosen


def _find(part: str, name: str, rows: Rows) -> str | None:
    """Return the column with this name, or the only one whose name differs in capitals and spaces around it alone."""
    if name in rows.columns:
        return name
    similar = [column for column in rows.columns if column.strip().casefold() == name.strip().casefold()]
    if len(similar) > 1:
        names = " and ".join(map(cut, similar[:3]))
        raise invalid(part, f"the columns {names} differ in capitals or spaces only; name one of them exactly")
    return similar[0] if similar else None


def check_rows(
    unchecked: Rows, columns: Mapping[str, str], report: Report, *, max_characters: int, skip_invalid: bool = False
) -> Iterator[Row]:
    """Yield the rows up to the first invalid one. The rows after it are checked, too, but not yielded.

    With `skip_invalid`, all valid rows are yielded, and at the end `report` says which were left out. It always says
    at the end what of the file is not used.

    At the end, raises a 422 Problem that names the first errors by row, counted from 1, if there are any and they are
    not skipped, or if no row is valid. Raises Unreadable if there are more than MAX_ROWS rows, or more than
    `max_characters` characters in them: a small file may unpack to any size.
    """
    errors: list[FieldError] = []
    valid = skipped = error_count = characters = 0
    filled = Counter({shown(column): 0 for column in unchecked.columns if column not in columns.values()})
    for count, found in enumerate(unchecked.read(columns.values())):
        row, row_errors = _check_row(found.value, columns)
        for error in row_errors[: MAX_FIELD_ERRORS - len(errors)]:
            path = f", {error.field}" if error.field else ""
            errors.append(FieldError(field=f"{found.place}{path}", message=error.message))
        error_count += len(row_errors)
        skipped += row is None
        characters += characters_of(row) if row else 0
        if count == MAX_ROWS or characters > max_characters:
            raise Unreadable(f"the dataset has more than {MAX_ROWS} rows or more than {max_characters} characters")
        if row and (skip_invalid or not skipped):
            valid += 1
            for name in _unused(found.value, columns.values()):
                if name in filled or len(filled) < MAX_UNUSED:
                    filled[name] += 1
            yield row
    if errors and not (skip_invalid and valid):
        advice = "no row is valid" if skip_invalid else "`on_invalid=skip` leaves such rows out"
        detail = f"{errors[0].field}: {errors[0].message}; {error_count} errors in {skipped} rows in total; {advice}"
        raise Problem(422, ProblemType.INVALID, detail, errors=errors)
    report.skipped += skipped
    report.errors += errors[: MAX_FIELD_ERRORS - len(report.errors)]
    for name, number in filled.items():
        _add(report.unused, name, number)
    for column, counted in unchecked.count_filled(columns.values()).items():
        _add(report.unused, shown(column), counted)


def _add(counts: dict[str, int | None], name: str, number: int | None) -> None:
    before = counts.get(name, 0)
    counts[name] = None if before is None or number is None else before + number


def _unused(row: Mapping[str, Any], used: Collection[str]) -> list[str]:
    """Return the columns, and the fields of messages, that have something in them and are not used."""
    names = [shown(column) for column, value in row.items() if column not in used and is_filled(value)]
    for column in used:
        names += [f"{shown(column)}[].{shown(field)}" for field in unused_fields(row.get(column))]
    return names


def _check_row(row: Any, columns: Mapping[str, str]) -> tuple[Row | None, Sequence[FieldError]]:
    """Return the checked row (None if it is invalid) and its errors."""
    if not isinstance(row, dict):
        message = str(row) if isinstance(row, ValueError) else f"must be an object, but is {described(row)}"
        return None, [FieldError(field="", message=message)]
    values: dict[str, Any] = {part: row.get(column) for part, column in columns.items()}
    names = {part: shown(column) for part, column in columns.items()}
    try:
        return _row(values, names), []
    except RowError as error:
        return None, error.errors


def _row(values: dict[str, Any], names: Mapping[str, str]) -> Row:
    """Return the row with these values by part; `names` are those of the columns. Raises RowError."""
    system = read_system(values.get("system"), names.get("system", ""))
    if "messages" in values:
        return row_of_chat(read_messages(values["messages"], names["messages"]), names["messages"], system)
    if isinstance(values["instruction"], list) or isinstance(values["output"], list):
        for part in "input", "history":
            if is_filled(values.get(part)):
                raise RowError(FieldError(field=names[part], message="can't be combined with a list of messages"))
        columns = names["instruction"], names["output"]
        turns = read_prompt_and_completion(values["instruction"], values["output"], columns)
        return row_of_chat(turns, names["output"], system)
    messages = {part: text_error(values.get(part), optional=part == "input") for part in COLUMNS}
    if errors := [FieldError(field=names[part], message=message) for part, message in messages.items() if message]:
        raise RowError(*errors)
    before = read_history(values.get("history"), names.get("history", ""))
    context = tuple(turn.message for turn in ([system] if system else []) + before)
    row = Row(values["instruction"], values.get("input") or "", values["output"], context)
    check_length(row, names["instruction"])
    return row


def _list(rows: Rows) -> str:
    names = [shown(column) for column in rows.columns]
    more = f" and {len(names) - SHOWN_COLUMNS} more" if len(names) > SHOWN_COLUMNS else ""
    kind = f"the file was read as {rows.kind}, and " if rows.kind else ""
    return f"{kind}the columns are: {', '.join(names[:SHOWN_COLUMNS])}{more}"
