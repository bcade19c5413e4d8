"""Whether a value has something in it, for counting what a dataset does not use."""

from typing import Any


def is_filled(value: Any) -> bool:
    """Return whether a value, or any value that it contains, is neither null nor a blank text."""
    pending = [value]  # a loop, because values from a file can be nested deeper than Python recurses
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list | tuple):
            pending.extend(value)
        elif value is not None and not (isinstance(value, str | bytes) and not value.strip()):
            return True
    return False
