"""How a value of a file is shown in an error message."""

from typing import Any

SHOWN_CHARACTERS = 60
SHOWN_FIELDS = 5


def described(value: Any) -> str:
    """Return what a JSON value is, with its content cut short: `the number 7`, `a list of 3 values`."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            # A number with thousands of digits can't be written in decimal.
            return "a very long number" if isinstance(value, int) and abs(value) >= 10**30 else f"the number {value}"
        case str():
            return f"the text {cut(value)}"
        case list():
            return f"a list of {len(value)} value{'s' * (len(value) != 1)}" if value else "an empty list"
        case dict():
            names = ", ".join(cut(name) for name in list(value)[:SHOWN_FIELDS])
            more = ", …" if len(value) > SHOWN_FIELDS else ""
            return f"an object with the field{'s' * (len(value) != 1)} {names}{more}" if value else "an empty object"
    return f"a {type(value).__name__}"


def cut(text: str) -> str:
    """Return the beginning of a text in quotes, with everything that is not visible as an escape."""
    return repr(text[:SHOWN_CHARACTERS]) + ("…" if len(text) > SHOWN_CHARACTERS else "")
