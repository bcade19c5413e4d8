"""Choosing the columns of a file, and checking every row."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
from api.datasets.files import Rows
from api.datasets.filled import is_filled
from api.datasets.limits import MAX_COLUMNS, MAX_ROWS, Unreadable
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


def choose_columns(columns: list[str], requested: Mapping[str, str] | None) -> dict[str, str]:
    """Return the file's column for each part of a row: the `requested` ones, or else columns with usual names.

    `columns` are those of the file. Raises a 422 Problem about `columns` if the file does not have them.
    """
    if not columns:  # the file has no rows, or no row that is an object; `check_rows` says so
        return dict(requested or _DEFAULT_COLUMNS[0][0])
    if requested is not None:
        for part, column in requested.items():
            if column not in columns:
                raise invalid(f"columns.{part}", f"there is no column {shown(column)!r}; {_list(columns)}")
        return dict(requested)
    for required, optional in _DEFAULT_COLUMNS:
        if set(required.values()) <= set(columns):
            return {**required, **{name: name for name in optional if name in columns}}
    raise invalid(
        "columns", f"the columns for instruction and output, or for messages, must be named; {_list(columns)}"
    )


def check_rows(
    unchecked: Rows, columns: Mapping[str, str], unused: dict[str, int | None], *, max_characters: int
) -> Iterator[Row]:
    """Yield the rows up to the first invalid one. The rows after it are checked, too, but not yielded.

    At the end, raises a 422 Problem that names the first errors by row, counted from 0. Raises Unreadable if there are
    more than MAX_ROWS rows, or more than `max_characters` characters in them: a small file may unpack to any size.

    At the end, `unused` has the columns and the fields of messages that no row was made of, each with the number of
    rows that have something in it, or None if they could not be counted.
    """
    errors: list[FieldError] = []
    error_count = characters = 0
    filled = Counter({shown(column): 0 for column in unchecked.columns if column not in columns.values()})
    for number, unchecked_row in enumerate(unchecked.read(columns.values())):
        row, row_errors = _check_row(unchecked_row, columns)
        error_count += len(row_errors)
        for error in row_errors[: MAX_FIELD_ERRORS - len(errors)]:
            path = f".{error.field}" if error.field else ""
            errors.append(FieldError(field=f"rows[{number}]{path}", message=error.message))
        characters += characters_of(row) if row else 0
        if number == MAX_ROWS or characters > max_characters:
            raise Unreadable(f"the dataset has more than {MAX_ROWS} rows or more than {max_characters} characters")
        if row and not error_count:
            for name in _unused(unchecked_row, columns.values()):
                if name in filled or len(filled) < MAX_UNUSED:
                    filled[name] += 1
            yield row
    if errors:
        detail = f"{errors[0].field}: {errors[0].message}; {error_count} errors in total"
        raise Problem(422, ProblemType.INVALID, detail, errors=errors)
    unused.update(filled)
    for column, count in unchecked.count_filled(columns.values()).items():
        unused[shown(column)] = None if count is None else filled[shown(column)] + count


def _unused(row: Mapping[str, Any], used: Collection[str]) -> list[str]:
    """Return the columns, and the fields of messages, that have something in them and are not used."""
    names = [shown(column) for column, value in row.items() if column not in used and is_filled(value)]
    for column in used:
        names += [f"{shown(column)}[].{shown(field)}" for field in unused_fields(row.get(column))]
    return names


def _check_row(row: Any, columns: Mapping[str, str]) -> tuple[Row | None, Sequence[FieldError]]:
    """Return the checked row (None if it is invalid) and its errors."""
    if not isinstance(row, dict):
        message = str(row) if isinstance(row, ValueError) else "must be an object"
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


def _list(columns: Iterable[str]) -> str:
    names = [shown(column) for column in columns]
    more = f" and {len(names) - SHOWN_COLUMNS} more" if len(names) > SHOWN_COLUMNS else ""
    return f"the columns are: {', '.join(names[:SHOWN_COLUMNS])}{more}"
