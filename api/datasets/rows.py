"""Choosing the columns of a file, and checking every row."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from api.datasets.files import Rows
from api.datasets.limits import MAX_ROWS, Unreadable
from api.errors import MAX_FIELD_ERRORS, FieldError, Problem, ProblemType, invalid, shown
from api.schemas.common import not_blank, storable

MAX_CHARACTERS = 200_000
SHOWN_COLUMNS = 20

# The columns of a file for the parts of a row, if the request does not name them. The first entry that fits is used.
_DEFAULT_COLUMNS = (
    {"instruction": "instruction", "output": "output"},
    {"instruction": "prompt", "output": "completion"},
    {"messages": "messages"},
)


class Row(NamedTuple):
    """A checked row of a dataset."""

    instruction: str
    input: str
    output: str


def choose_columns(columns: list[str], requested: Mapping[str, str] | None) -> dict[str, str]:
    """Return the file's column for each part of a row: the `requested` ones, or else columns with usual names.

    `columns` are those of the file. Raises a 422 Problem about `columns` if the file does not have them.
    """
    if not columns:  # the file has no rows, or no row that is an object; `check_rows` says so
        return dict(requested or _DEFAULT_COLUMNS[0])
    if requested is not None:
        for part, column in requested.items():
            if column not in columns:
                raise invalid(f"columns.{part}", f"there is no column {shown(column)!r}; {_list(columns)}")
        return dict(requested)
    for default in _DEFAULT_COLUMNS:
        if set(default.values()) <= set(columns):
            has_input = default is _DEFAULT_COLUMNS[0] and "input" in columns
            return {**default, "input": "input"} if has_input else dict(default)
    raise invalid("columns", f"the columns for instruction and output must be named; {_list(columns)}")


def check_rows(unchecked: Rows, columns: Mapping[str, str], *, max_characters: int) -> Iterator[Row]:
    """Yield the rows up to the first invalid one. The rows after it are checked, too, but not yielded.

    At the end, raises a 422 Problem that names the first errors by row, counted from 0. Raises Unreadable if there are
    more than MAX_ROWS rows, or more than `max_characters` characters in them: a small file may unpack to any size.
    """
    errors: list[FieldError] = []
    error_count = characters = 0
    for number, unchecked_row in enumerate(unchecked.read(columns.values())):
        row, row_errors = _check_row(unchecked_row, columns)
        error_count += len(row_errors)
        for error in row_errors[: MAX_FIELD_ERRORS - len(errors)]:
            errors.append(FieldError(field=f"rows[{number}]{error.field}", message=error.message))
        characters += sum(map(len, row or ()))
        if number == MAX_ROWS or characters > max_characters:
            raise Unreadable(f"the dataset has more than {MAX_ROWS} rows or more than {max_characters} characters")
        if row and not error_count:
            yield row
    if errors:
        detail = f"{errors[0].field}: {errors[0].message}; {error_count} errors in total"
        raise Problem(422, ProblemType.INVALID, detail, errors=errors)


def _check_row(row: Any, columns: Mapping[str, str]) -> tuple[Row | None, list[FieldError]]:
    """Return the row's texts (None if it is invalid) and its errors."""
    if not isinstance(row, dict):
        message = str(row) if isinstance(row, ValueError) else "must be an object"
        return None, [FieldError(field="", message=message)]
    values: dict[str, Any] = {part: row.get(column) for part, column in columns.items()}
    column_of: Mapping[str, str] = columns
    if "messages" in columns:
        column_of = dict.fromkeys(Row._fields, columns["messages"])
        try:
            instruction, output = _instruction_and_output(values["messages"])
        except ValueError as error:
            return None, [FieldError(field=f".{shown(columns['messages'])}", message=str(error))]
        values = {"instruction": instruction, "output": output}
    messages = {part: _text_error(values.get(part), optional=part == "input") for part in Row._fields}
    errors = [
        FieldError(field=f".{shown(column_of[part])}", message=message) for part, message in messages.items() if message
    ]
    if errors:
        # The parts of a chat are in one column, so one error is enough.
        return None, errors[:1] if "messages" in columns else errors
    return Row(*(values.get(part) or "" for part in Row._fields)), []


def _instruction_and_output(messages: Any) -> tuple[str, str]:
    """Return the prompt and the answer of a chat. Raises ValueError if it is not one user message and its answer."""
    if messages is None:
        raise ValueError("is missing")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise ValueError("must be a list of messages")
    roles = [message.get("role") for message in messages]
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise ValueError("must be a user message and an assistant message, optionally after a system message")
    *prompt, answer = [message.get("content") for message in messages]
    if not all(isinstance(content, str) for content in (*prompt, answer)):
        raise ValueError("the content of every message must be a string")
    not_blank(prompt[-1])
    return "\n\n".join(content for content in prompt if content.strip()), answer


def _text_error(value: Any, *, optional: bool) -> str | None:
    """Return what is wrong with a text, or None."""
    if value is None:
        return None if optional else "is missing"
    if not isinstance(value, str):
        return "must be a string"
    if len(value) > MAX_CHARACTERS:
        return f"must not be longer than {MAX_CHARACTERS} characters"
    try:
        storable(value)
        if not optional:
            not_blank(value)
    except ValueError as error:
        return str(error)
    return None


def _list(columns: Iterable[str]) -> str:
    names = [shown(column) for column in columns]
    more = f" and {len(names) - SHOWN_COLUMNS} more" if len(names) > SHOWN_COLUMNS else ""
    return f"the columns are: {', '.join(names[:SHOWN_COLUMNS])}{more}"
