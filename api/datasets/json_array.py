"""Reading a JSON file that contains one array. Only one value of the array is in memory at a time."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from api.datasets.json_values import JsonDecoder
from api.datasets.limits import MAX_ROW_BYTES, Unreadable
from api.datasets.text import UTF_8, not_text
from api.datasets.unchecked import Unchecked
from api.datasets.values import cut

CHUNK_BYTES = 65_536
_AFTER_VALUE = tuple(",] \t\n\r")
_WHITESPACE = re.compile(r"[ \t\n\r]*")


class JsonArray:
    """An iterable over the values of the array. Iterating raises Unreadable where the file is not a JSON array."""

    def __init__(self, file: IO[bytes], encoding: str = UTF_8) -> None:
        self._file, self._encoding = file, encoding
        self._decoder = JsonDecoder()

    def __iter__(self) -> Iterator[Unchecked]:
        self._file.seek(0)
        self._decoding = codecs.getincrementaldecoder(self._encoding)()
        self._text, self._at, self._line, self._counted, self._ended = "", 0, 1, 0, False
        self._take("[")
        number = 1
        if self._next() == "]":
            self._at += 1
        else:
            yield self._row(number)
            while self._next() == ",":
                self._at += 1
                number += 1
                yield self._row(number)
            self._take("]")
        if self._next():
            raise self._invalid("something follows the array", self._at)

    def _row(self, number: int) -> Unchecked:
        self._next()
        line = self._line_at(self._at)
        self._line, self._counted = line, self._at
        return Unchecked(self._value(), number, line)

    def _line_at(self, position: int) -> int:
        """Return the line of a position that is not before the last row."""
        return self._line + self._text.count("\n", self._counted, position)

    def _next(self) -> str:
        """Return the next character that is not whitespace, without consuming it; an empty string at the end."""
        while True:
            self._at = _WHITESPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # the pattern matches an empty string
            if self._at < len(self._text) or not self._read_on():
                return self._text[self._at : self._at + 1]

    def _take(self, expected: str) -> None:
        if self._next() != expected:
            raise self._invalid(
                f"a '{expected}' or ',' is missing" if expected == "]" else f"a '{expected}' is missing", self._at
            )
        self._at += 1

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # An incomplete row also looks invalid, so reading continues up to the maximum length of a row.
                if len(self._text) - self._at > MAX_ROW_BYTES or not self._read_on():
                    raise self._invalid(error.msg, error.pos) from None
            except (ValueError, RecursionError):  # a number with thousands of digits, or too many nested brackets
                line = self._line_at(self._at)
                message = "a value is nested too deep, or a number has thousands of digits"
                raise Unreadable(
                    f"the file is not valid JSON: {message}, in the row that begins in line {line}"
                ) from None
            else:
                ended = self._text[end : end + 1] in _AFTER_VALUE  # more digits of a number may follow
                if ended or len(self._text) - self._at > MAX_ROW_BYTES or not self._read_on():
                    self._at = end
                    return value

    def _read_on(self) -> bool:
        """Read more of the file: as much as is already read of an incomplete value. Returns False at the end."""
        if self._ended:
            return False
        pending = len(self._text) - self._at
        chunk = self._file.read(max(min(pending, MAX_ROW_BYTES - pending), CHUNK_BYTES))
        self._ended = not chunk
        try:
            read = self._decoding.decode(chunk, final=self._ended)
        except UnicodeDecodeError:
            raise not_text(self._encoding) from None
        self._line = self._line_at(self._at)
        self._text, self._at, self._counted = self._text[self._at :] + read, 0, 0
        return True

    def _invalid(self, message: str, position: int) -> Unreadable:
        line = self._line_at(position)
        found = cut(self._text[position:]) if self._text[position:] else "the end of the file"
        too_long = f", in a row longer than {MAX_ROW_BYTES} characters" if len(self._text) > MAX_ROW_BYTES else ""
        return Unreadable(f"the file is not valid JSON: {message} in line {line}, at {found}{too_long}")
