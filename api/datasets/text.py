"""Text of files: how it is encoded, and its lines."""

import codecs
import io
import re
from collections.abc import Iterator
from typing import IO

from api.datasets.limits import MAX_ROW_BYTES, Unreadable

ENCODINGS = (
    *("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32"),
    *(f"windows-{number}" for number in range(1250, 1259)),
    *(f"iso-8859-{number}" for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)),
    *("koi8-r", "koi8-u", "mac-roman", "shift_jis", "cp932", "euc-jp", "gb18030", "gbk", "big5", "euc-kr"),
)
"""The encodings that a request can name. All of them are read piece by piece."""

HEAD_BYTES = 65_536

UTF_8 = "utf-8-sig"  # reads text with and without a byte order mark

_MARKS = (  # UTF-32's first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, UTF_8),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNDECODABLE = re.compile("[\udc80-\udcff]")


def encoding_of(file: IO[bytes], requested: str | None) -> str:
    """Return the encoding of a file: that of its byte order mark, or else the `requested` one, or else UTF-8.

    Raises Unreadable for a file that is not text in this encoding as far as its first bytes tell.
    """
    file.seek(0)
    head = file.read(4096)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if requested and requested != "utf-8":
        return requested
    for encoding, other_bytes in ("utf-16-le", head[1::2]), ("utf-16-be", head[::2]):
        if other_bytes.count(0) > len(head) / 4:
            raise Unreadable(f"the file looks like UTF-16; send the form field `encoding` with the value `{encoding}`")
    return UTF_8


def read_head(file: IO[bytes], encoding: str) -> str:
    """Return the beginning of a file, without what can't be decoded."""
    file.seek(0)
    return file.read(HEAD_BYTES).decode(encoding, errors="ignore")


def read_lines(file: IO[bytes], encoding: str = UTF_8) -> Iterator[str]:
    """Yield the lines, with their ends, from the current position. A line ends with LF, CR LF, or CR alone.

    Raises Unreadable for bytes that are not text in this encoding, and for lines of more than MAX_ROW_BYTES characters.
    """
    reader = io.TextIOWrapper(file, encoding, errors="surrogateescape", newline="")
    number = 0
    try:
        while line := reader.readline(MAX_ROW_BYTES + 1):
            number += 1
            if len(line) > MAX_ROW_BYTES:
                raise Unreadable(f"line {number} is longer than {MAX_ROW_BYTES} characters")
            if not line.isascii() and (byte := _UNDECODABLE.search(line)):
                raise Unreadable(
                    f"line {number} is {_not(encoding)}: byte {ord(byte[0]) - 0xDC00:#x}{advice(encoding)}"
                )
            yield line
    except UnicodeDecodeError:  # the encodings of two or four bytes a character
        raise Unreadable(f"the file is {_not(encoding)}, after line {number}{advice(encoding)}") from None
    finally:
        reader.detach()  # or it would close the file


def not_text(encoding: str) -> Unreadable:
    """Return the error about a file that is not text in this encoding."""
    return Unreadable(f"the file is {_not(encoding)}{advice(encoding)}")


def advice(encoding: str) -> str:
    """Return what to do about undecodable bytes, as the end of a message."""
    if encoding == UTF_8:
        return (
            "; save the file as UTF-8, or name its encoding in the form field `encoding`, such as `windows-1252` for "
            "CSV from Excel"
        )
    return "; name another encoding in the form field `encoding`"


def _not(encoding: str) -> str:
    return f"not {'UTF-8' if encoding == UTF_8 else encoding}"
