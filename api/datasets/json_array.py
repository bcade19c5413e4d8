"""A JSON file that is one array, value by value: in memory is one of them."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from api.datasets.limits import MAX_ROW_BYTES, Unreadable

CHUNK_BYTES = 65_536
_AFTER_VALUE = tuple(",] \t\n\r")
_WHITESPACE = re.compile(r"[ \t\n\r]*")


class JsonArray:
    """Each iteration goes through the array from its beginning. Raises Unreadable where the file is none."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = json.JSONDecoder()

    def __iter__(self) -> Iterator[Any]:
        self._file.seek(0)
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._line, self._ended = "", 0, 1, False
        begins = self._next()
        if begins and begins in '{"-0123456789tfn':
            raise Unreadable("must hold a JSON array of rows")
        self._take("[")
        if self._next() == "]":
            self._at += 1
        else:
            yield self._value()
            while self._next() == ",":
                self._at += 1
                yield self._value()
            self._take("]")
        if self._next():
            raise self._broken("Extra data", self._at)

    def _next(self) -> str:
        """The next character that is no whitespace, which is not taken; empty at the end."""
        while True:
            self._at = _WHITESPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # it may be empty
            if self._at < len(self._text) or not self._read_on():
                return self._text[self._at : self._at + 1]

    def _take(self, expected: str) -> None:
        if self._next() != expected:
            raise self._broken(f"Expecting '{expected}'", self._at)
        self._at += 1

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Half a row looks broken, too; a broken one is read on until it is too long to be half of any.
                if len(self._text) - self._at > MAX_ROW_BYTES or not self._read_on():
                    raise self._broken(error.msg, error.pos) from None
            except (ValueError, RecursionError):  # a number of thousands of digits; brackets in brackets in brackets
                raise Unreadable("is not JSON that can be read") from None
            else:
                ended = self._text[end : end + 1] in _AFTER_VALUE  # a number may go on
                if ended or len(self._text) - self._at > MAX_ROW_BYTES or not self._read_on():
                    self._at = end
                    return value

    def _read_on(self) -> bool:
        """Have more of the file, as much again as there is of a value that began; False at the end."""
        if self._ended:
            return False
        begun = len(self._text) - self._at
        chunk = self._file.read(max(min(begun, MAX_ROW_BYTES - begun), CHUNK_BYTES))
        self._ended = not chunk
        try:
            read = self._utf8.decode(chunk, final=self._ended)
        except UnicodeDecodeError:
            raise Unreadable("is not UTF-8") from None
        self._line += self._text.count("\n", 0, self._at)
        self._text, self._at = self._text[self._at :] + read, 0
        return True

    def _broken(self, message: str, position: int) -> Unreadable:
        line = self._line + self._text.count("\n", 0, position)
        long = f", in a row longer than {MAX_ROW_BYTES} characters" if len(self._text) > MAX_ROW_BYTES else ""
        return Unreadable(f"is not valid JSON: {message} in line {line}{long}")
