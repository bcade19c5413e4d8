"""Chats: from the messages of a file, in several formats, to a row.

A message is an object with `role` and `content` (OpenAI) or with `from` and `value` (ShareGPT).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from api.datasets.filled import is_filled
from api.datasets.limits import MAX_CHARACTERS
from api.datasets.values import cut, described
from api.errors import FieldError, shown
from api.schemas.common import not_blank, storable
from models.prompts.rows import Message, Role, Row

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}
_TOOL_ROLES = {"tool", "tool_call", "tool_response", "function", "function_call", "function_response", "observation"}
_TOOL_FIELDS = ("tool_calls", "function_call")
_NO_TOOLS = (
    "is a tool call or the result of one, which is not supported; remove the row, or write the call and its result as "
    "text of the assistant and the user"
)


class RowError(Exception):
    """What is wrong with a row. The fields of `errors` are paths in the row, such as `messages[2].content`."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__(errors)
        self.errors = errors


def _wrong(field: str, message: str) -> RowError:
    return RowError(FieldError(field=field, message=message))


@dataclass(frozen=True)
class Turn:
    """A message, and the path in the row where it was found."""

    field: str
    message: Message


def read_messages(value: Any, column: str) -> list[Turn]:
    """Return the messages of a column. Raises RowError."""
    if value is None:
        raise _wrong(column, "is missing")
    if not isinstance(value, list):
        raise _wrong(column, f"must be a list of messages, but is {described(value)}")
    return [_read_message(message, f"{column}[{number}]") for number, message in enumerate(value)]


def read_history(value: Any, column: str) -> list[Turn]:
    """Return the messages of a list of pairs [user, assistant], as Alpaca's column `history` has them.

    Raises RowError.
    """
    if not is_filled(value):
        return []
    if not isinstance(value, list):
        raise _wrong(
            column,
            f"must be a list of pairs [user, assistant], but is {described(value)}; name the columns in `columns` to "
            "leave this one out",
        )
    turns: list[Turn] = []
    roles: tuple[Role, Role] = ("user", "assistant")
    for number, pair in enumerate(value):
        if not isinstance(pair, list) or len(pair) != len(roles):
            raise _wrong(f"{column}[{number}]", f"must be a pair [user, assistant], but is {described(pair)}")
        for place, role in enumerate(roles):
            turns.append(_turn(f"{column}[{number}][{place}]", role, pair[place]))
    return turns


def read_system(value: Any, column: str) -> Turn | None:
    """Return the system message of a column, or None if it is blank. Raises RowError."""
    return _turn(column, "system", value) if is_filled(value) else None


def read_prompt_and_completion(prompt: Any, completion: Any, columns: tuple[str, str]) -> list[Turn]:
    """Return the messages of a prompt and its completion, each a list of messages or a text.

    What the assistant says in the prompt is not to be learned, as in TRL. Raises RowError.
    """
    before = read_messages(prompt, columns[0]) if isinstance(prompt, list) else [_turn(columns[0], "user", prompt)]
    after = (
        read_messages(completion, columns[1])
        if isinstance(completion, list)
        else [_turn(columns[1], "assistant", completion)]
    )
    given = [replace(turn, message=replace(turn.message, learn=turn.message.role != "assistant")) for turn in before]
    return given + after


def row_of_chat(turns: Sequence[Turn], column: str, system: Turn | None = None) -> Row:
    """Return the row of a chat, whose messages must be the user's and the assistant's in turn.

    The first may be a system message instead, or `system` may come from elsewhere. Raises RowError; `column` is the
    field of an error that is not about one message.
    """
    if turns and turns[0].message.role == "system":
        own, turns = turns[0], turns[1:]
        if own.message.content.strip():
            if system and system.message != own.message:
                raise _wrong(own.field, f"differs from the system message in {system.field}; a row can have only one")
            system = own
    _check_order(turns, column)
    if not any(turn.message.learn for turn in turns if turn.message.role == "assistant"):
        raise _wrong(
            column, "every message of the assistant has the weight 0, so that nothing is learned; remove the row"
        )
    *before, question, answer = (turn.message for turn in turns)
    context = (*([system.message] if system else []), *before)
    row = Row(question.content, "", answer.content, context, answer.learn)
    check_length(row, column)
    return row


def check_length(row: Row, column: str) -> None:
    """Raise RowError if a chat of several messages has more than MAX_CHARACTERS characters."""
    if row.context and characters_of(row) > MAX_CHARACTERS:
        raise _wrong(column, f"the messages of a chat must not be longer than {MAX_CHARACTERS} characters in all")


def characters_of(row: Row) -> int:
    """Return the number of characters in all texts of a row."""
    return sum(map(len, (row.instruction, row.input, row.output, *(message.content for message in row.context))))


def unused_fields(messages: Any) -> set[str]:
    """Return the names of those fields with something in them that `read_messages` does not read."""
    if not isinstance(messages, list):
        return set()
    return {
        name
        for message in messages
        if isinstance(message, dict)
        for name, value in message.items()
        if name not in (*_keys(message), "weight") and is_filled(value)
    }


def _check_order(turns: Sequence[Turn], column: str) -> None:
    if not turns:
        raise _wrong(column, "must have a message of the user and an answer of the assistant")
    expected: Role = "user"
    for number, turn in enumerate(turns):
        role = turn.message.role
        if role == "system":
            raise _wrong(
                turn.field, "is a system message, which must be the first message and the only one of its kind"
            )
        if role != expected:
            if number == 0:
                raise _wrong(turn.field, "the first message, or the one after the system message, must be the user's")
            raise _wrong(turn.field, f"follows another message of the {role}; join the two messages")
        expected = "assistant" if role == "user" else "user"
    if expected == "assistant":
        raise _wrong(turns[-1].field, "the last message must be the assistant's; add its answer, or remove the message")


def _keys(message: dict[str, Any]) -> tuple[str, str]:
    """Return the names of the fields for the role and the text. Other formats' fields can be null in Parquet files."""
    sharegpt = message.get("role") is None and message.get("from") is not None
    return ("from", "value") if sharegpt else ("role", "content")


def _read_message(message: Any, field: str) -> Turn:
    if not isinstance(message, dict):
        raise _wrong(
            field,
            f"must be an object with `role` and `content`, or with `from` and `value`, but is {described(message)}",
        )
    role_key, content_key = _keys(message)
    name = message.get(role_key)
    if (isinstance(name, str) and name in _TOOL_ROLES) or any(is_filled(message.get(key)) for key in _TOOL_FIELDS):
        raise _wrong(field, _NO_TOOLS)
    if not isinstance(name, str) or name not in _ROLES:
        raise _wrong(
            f"{field}.{role_key}",
            "is missing" if name is None else f"must be one of {', '.join(_ROLES)}, but is {described(name)}",
        )
    weight = message.get("weight")
    if weight not in (None, 0, 1):
        raise _wrong(f"{field}.weight", f"must be 0 or 1, but is {described(weight)}")
    role = _ROLES[name]
    return _turn(
        f"{field}.{content_key}", role, message.get(content_key), learn=role != "assistant" or weight != 0, at=field
    )


def _turn(field: str, role: Role, content: Any, *, learn: bool = True, at: str | None = None) -> Turn:
    """Return the turn with this content, a text or a list of text parts. Raises RowError about `field`."""
    text = _join_parts(content, field) if isinstance(content, list) else content
    if error := text_error(text, optional=role == "system"):
        raise _wrong(field, error)
    return Turn(at or field, Message(role, text or "", learn))


def _join_parts(parts: list[Any], field: str) -> str:
    texts: list[str] = []
    for number, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str):
            message = f'must be a text part, {{"type": "text", "text": …}}, but is {described(part)}'
            raise _wrong(f"{field}[{number}]", message)
        if kind != "text":
            message = f"is a part of the type {shown(kind)!r}, but only text is supported; remove the part or the row"
            raise _wrong(f"{field}[{number}]", message)
        if not isinstance(part.get("text"), str):
            raise _wrong(f"{field}[{number}].text", f"must be a string, but is {described(part.get('text'))}")
        texts.append(part["text"])
    return "".join(texts)


def text_error(value: Any, *, optional: bool) -> str | None:
    """Return what is wrong with a text of a row, or None. An optional text may be missing or blank."""
    if value is None:
        return None if optional else "is missing"
    if not isinstance(value, str):
        return f"must be a string, but is {described(value)}"
    if len(value) > MAX_CHARACTERS:
        return f"must not be longer than {MAX_CHARACTERS} characters, but has {len(value)}: {cut(value)}"
    try:
        storable(value)
        if not optional:
            not_blank(value)
    except ValueError as error:
        return f"{error}: {cut(value)}" if value.strip() else str(error)
    return None
