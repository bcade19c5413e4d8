"""Which columns of a file make the dataset, and whether every row has in them what it must."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from api.datasets.files import Rows
from api.datasets.limits import MAX_ROWS, Unreadable
from api.errors import MAX_FIELD_ERRORS, FieldError, Problem, ProblemType, invalid, shown
from api.schemas.common import not_blank, storable

MAX_CHARACTERS = 200_000
SHOWN_COLUMNS = 20

# Our names and a file's, for files that say nothing themselves; the first that fits.
_USUAL = (
    {"instruction": "instruction", "output": "output"},
    {"instruction": "prompt", "output": "completion"},
    {"messages": "messages"},
)


class Triple(NamedTuple):
    instruction: str
    input: str
    output: str


def choose_columns(found: list[str], asked: Mapping[str, str] | None) -> dict[str, str]:
    """The file's column for each of ours: as `asked`, or else as files usually name them.

    Raises a 422 Problem about `columns` if the file does not have them.
    """
    if not found:  # no rows, or none that is an object: what is checked next
        return dict(asked or _USUAL[0])
    if asked is not None:
        for ours, column in asked.items():
            if column not in found:
                raise invalid(f"columns.{ours}", f"there is no column {shown(column)!r}; {_list(found)}")
        return dict(asked)
    for usual in _USUAL:
        if set(usual.values()) <= set(found):
            return {**usual, "input": "input"} if usual is _USUAL[0] and "input" in found else dict(usual)
    raise invalid("columns", f"say which columns are the instruction and the output; {_list(found)}")


def checked(rows: Rows, columns: Mapping[str, str], *, max_characters: int) -> Iterator[Triple]:
    """The rows one after the other, until one has a fault; the others are then checked too.

    Ends with a 422 Problem that names the first faults by row, counted from 0. Raises Unreadable where there are more
    than MAX_ROWS, or more than `max_characters` in them: a small file may unpack to as many as it likes.
    """
    faults: list[FieldError] = []
    count = characters = 0
    for number, row in enumerate(rows.read(columns.values())):
        found: list[FieldError] = []
        triple = _triple(row, columns, found)
        count += len(found)
        for fault in found[: MAX_FIELD_ERRORS - len(faults)]:
            faults.append(FieldError(field=f"rows[{number}]{fault.field}", message=fault.message))
        characters += sum(map(len, triple or ()))
        if number == MAX_ROWS or characters > max_characters:
            raise Unreadable(f"holds more than {MAX_ROWS} rows, or more than {max_characters} characters in them")
        if triple and not count:
            yield triple
    if faults:
        detail = f"{faults[0].field}: {faults[0].message}; faults in all: {count}"
        raise Problem(422, ProblemType.INVALID, detail, errors=faults)


def _triple(row: Any, columns: Mapping[str, str], faults: list[FieldError]) -> Triple | None:
    """The texts of a row, or None and what is wrong with it in `faults`."""

    def text(ours: str, value: Any) -> str:
        fault = _fault(value, may_miss=ours == "input")
        if fault:
            faults.append(FieldError(field=f".{shown(columns[ours])}", message=fault))
        return value if isinstance(value, str) else ""

    if not isinstance(row, dict):
        message = str(row) if isinstance(row, ValueError) else "must be an object"
        faults.append(FieldError(field="", message=message))
        return None
    values: dict[str, Any] = {ours: row.get(column) for ours, column in columns.items()}
    if "messages" in columns:
        try:
            instruction, output = _conversation(values["messages"])
        except ValueError as error:
            faults.append(FieldError(field=f".{shown(columns['messages'])}", message=str(error)))
            return None
        triple = Triple(text("messages", instruction), "", output)
        if not faults:
            text("messages", output)
    else:
        triple = Triple(*(text(ours, values.get(ours)) for ours in Triple._fields))
    return None if faults else triple


def _conversation(messages: Any) -> tuple[str, str]:
    """What is asked and what is answered. Raises ValueError if it is not one question and one answer."""
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise ValueError("must be a list of messages" if messages is not None else "is missing")
    roles = [message.get("role") for message in messages]
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise ValueError("must be one message of the user and one of the assistant, after one of the system at most")
    *asked, answer = [message.get("content") for message in messages]
    if not all(isinstance(content, str) for content in (*asked, answer)):
        raise ValueError("each message's content must be a string")
    not_blank(asked[-1])
    return "\n\n".join(content for content in asked if content.strip()), answer


def _fault(value: Any, *, may_miss: bool) -> str | None:
    if value is None:
        return None if may_miss else "is missing"
    if not isinstance(value, str):
        return "must be a string"
    if len(value) > MAX_CHARACTERS:
        return f"is longer than {MAX_CHARACTERS} characters"
    try:
        storable(value)
        if not may_miss:
            not_blank(value)
    except ValueError as error:
        return str(error)
    return None


def _list(columns: Iterable[str]) -> str:
    names = [shown(column) for column in columns]
    more = f" and {len(names) - SHOWN_COLUMNS} more" if len(names) > SHOWN_COLUMNS else ""
    return f"there are: {', '.join(names[:SHOWN_COLUMNS])}{more}"
