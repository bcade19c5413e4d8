"""Decoding the JSON values of a file's rows."""

import json
from collections.abc import Sequence
from typing import Any

from api.datasets.values import cut


class JsonDecoder:
    """Decodes as json.JSONDecoder does, and refuses an object with a key twice: only its last value would be kept."""

    def __init__(self) -> None:
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object)
        self._repeated: str | None = None

    def decode(self, text: str) -> Any:
        """Return the value that is the whole text, or a ValueError in its place if a key is repeated.

        Raises JSONDecodeError, ValueError and RecursionError.
        """
        self._repeated = None
        return self._checked(self._decoder.decode(text))

    def raw_decode(self, text: str, at: int) -> tuple[Any, int]:
        """Return the value that begins at a position, as `decode` does, and where it ends."""
        self._repeated = None
        value, end = self._decoder.raw_decode(text, at)
        return self._checked(value), end

    def _object(self, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs) and self._repeated is None:
            names = [name for name, _ in pairs]
            self._repeated = next(name for name in value if names.count(name) > 1)
        return value

    def _checked(self, value: Any) -> Any:
        if self._repeated is None:
            return value
        return ValueError(f"has the key {cut(self._repeated)} more than once in one JSON object; keep one of them")
