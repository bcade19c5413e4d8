"""What clients read about an invalid field. pydantic and FastAPI say which rule a value breaks; the texts are ours."""

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

from fastapi import UploadFile
from pydantic import BaseModel

from models.scoring.names import Metric

MAX_SHOWN = 3
"""How many near names a message offers."""
LIKENESS = 0.75
"""From which likeness on a name is offered: 1 is the same name, 0 one without a common letter."""
MAX_COMPARED = 200
"""How many characters of a name are compared with others, which takes a time that grows with their square."""

NAME_WORDS = (
    "must start with a letter or digit (A to Z, a to z, 0 to 9), hold only these and `.` `_` `-` `:` `/`, and have at "
    "most 200 characters"
)

PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}$": NAME_WORDS,
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*$": "must be the name of a repository on the hub, as "
    "`owner/name`",
    r"^[0-9a-f]{40}$": "must be a full commit hash: 40 hexadecimal digits, in lower case",
    r"^[0-9a-f]{64}$": "must be a SHA-256 hash: 64 hexadecimal digits, in lower case",
    r"^[\w./-]+$": "must hold only letters, digits and `_` `.` `/` `-`",
    r"^[!-~]*$": "must hold only visible ASCII characters, without spaces",
    r"^[\x21-\x7e]+$": "must hold only visible ASCII characters, without spaces",
    f"^-?({'|'.join(Metric)})$": f"must be a metric, with `-` before it for the highest first: {', '.join(Metric)}",
    r"^([A-Za-z_][A-Za-z0-9_.]{0,99}|all-linear)$": "must be the name of a layer: letters, digits, `_` and `.`, not "
    "first a digit or a dot, at most 100 characters",
}
"""What each pattern of a field demands, in words."""

TEXTS = {
    "missing": "is required",
    "string_type": "must be a text",
    "string_unicode": "must be a text in valid Unicode",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "int_type": "must be a whole number, such as 4, without quotes",
    "int_parsing": "must be a whole number, such as 4",
    "int_parsing_size": "is too large a number",
    "int_from_float": "must be a whole number, such as 4",
    "float_type": "must be a number, without quotes",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false, without quotes",
    "bool_parsing": "must be true or false",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "list_type": "must be a list",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "dict_type": "must be a JSON object",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "mapping_type": "must be a JSON object",
    "dataclass_type": "must be a JSON object",
    "json_type": "must be a text with JSON in it",
    "uuid_type": "must be an id, as the server returned it",
    "uuid_parsing": "must be an id, as the server returned it",
    "uuid_version": "must be an id, as the server returned it",
    "none_required": "must be null",
}
"""The messages by pydantic's type of error, with what it says of the rule."""

OTHER = "has a value that is not allowed here"
"""The message for a type of error that is not in TEXTS. No schema raises one."""


def message(detail: Mapping[str, Any], endpoint: Callable[..., Any]) -> str:
    """Return what is wrong with a field. `detail` is an error of pydantic, `endpoint` the function that was called.

    The message does not repeat the value, which may be a secret.
    """
    kind, location = detail["type"], detail["loc"]
    if kind == "extra_forbidden":
        return unknown(str(location[-1]), _fields(endpoint, location[:-1]), is_query=location[0] == "query")
    if kind == "value_error" and isinstance(detail["input"], str) and UploadFile in _types(endpoint, location):
        return "is a text and not a file: with curl, write `@` before the path, as in `-F file=@pages.jsonl`"
    if kind == "missing" and len(location) == 1:
        return "is required: a JSON object"
    return rule(detail)


def rule(detail: Mapping[str, Any]) -> str:
    """Return which rule a value breaks. `detail` is an error of pydantic, of any model."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        return str(context.get("error", OTHER))
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(context["pattern"], OTHER)
    if kind in ("enum", "literal_error"):
        return f"must be {context['expected']}".replace("'", "`")
    if kind == "json_invalid":
        place = re.search(r"line (\d+) column (\d+)", str(context.get("error")))
        return "is not valid JSON" + (f": see line {place[1]}, column {place[2]}" if place else "")
    if kind in ("too_short", "too_long") and isinstance(detail["input"], str):
        kind = f"string_{kind}"
    text = TEXTS.get(kind, OTHER).format(**context)
    return re.sub(r"\b1 (characters|items)\b", lambda match: match[0][:-1], text)


def unknown(name: str, known: Sequence[str], *, is_query: bool) -> str:
    """Return the message about a field, or a parameter of the query, that there is not; `known` are those there are."""
    what = "query parameter" if is_query else "field"
    if not known:
        return f"unknown {what}: there are none here"
    near = nearest(name, known)
    if near:
        return f"unknown {what}; did you mean {near}?"
    return f"unknown {what}; there are {', '.join(f'`{field}`' for field in known)}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the names in `known` that look like `name`, to put after "did you mean"; empty if there is none."""
    folded = {_folded(one): one for one in known}
    found = difflib.get_close_matches(_folded(name[:MAX_COMPARED]), folded, MAX_SHOWN, LIKENESS)
    return " or ".join(f"`{folded[match]}`" for match in found)


def json_syntax(document: str, position: int) -> str:
    """Return where in `document` JSON ends to be valid: `position` counts characters from 0."""
    line = document.count("\n", 0, position) + 1
    column = position - document.rfind("\n", 0, position)
    if position >= len(document):
        return f"the body is not valid JSON: it ends too early, in line {line}, column {column}"
    return f"the body is not valid JSON: see line {line}, column {column}"


def _folded(name: str) -> str:
    return name.lower().replace("_", "-")


def _fields(endpoint: Callable[..., Any], location: Sequence[str | int]) -> list[str]:
    """Return the names of the fields of the object at `location`, which starts with `body` or `query`."""
    models = [one for one in _types(endpoint, location) if issubclass(one, BaseModel)]
    return [name for model in models for name in model.model_fields]


def _types(endpoint: Callable[..., Any], location: Sequence[str | int]) -> list[type]:
    """Return the classes that a value at `location` can have, as the endpoint's annotations say."""
    source, *path = location
    parameters = inspect.signature(endpoint).parameters
    names = ("body", "form") if source == "body" else (str(source),)
    types = [one for name in names if name in parameters for one in _classes(parameters[name].annotation)]
    for part in path:
        if isinstance(part, str):  # a number is a place in a list, whose items' classes are known already
            fields = [one.model_fields.get(part) for one in types if issubclass(one, BaseModel)]
            types = [one for field in fields if field for one in _classes(field.annotation)]
    return types


def _classes(annotation: Any) -> list[type]:
    """Return the classes in an annotation: those of `Annotated[list[A] | None, ...]` are A and NoneType."""
    parts = get_args(annotation)
    if not parts:
        return [annotation] if inspect.isclass(annotation) else []
    return [one for part in parts for one in _classes(part)]
