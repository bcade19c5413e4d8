"""What a file is by its first bytes, and unpacking compressed files within a limit."""

import gzip
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import pyarrow as pa

from api.datasets.limits import Unreadable

CHUNK_BYTES = 1_000_000

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_AS_CSV = "save the table as CSV (in UTF-8) and send that file"
_REFUSED = {
    b"PK\x03\x04": f"a ZIP archive, as Excel's .xlsx files are; unpack it and send one file, or {_AS_CSV}",
    b"\xd0\xcf\x11\xe0": f"an old Office file, such as Excel's .xls; {_AS_CSV}",
    b"BZh": "compressed with bzip2; send it unpacked, or compressed with gzip or zstd",
    b"\xfd7zXZ\0": "compressed with xz; send it unpacked, or compressed with gzip or zstd",
    b"7z\xbc\xaf": "a 7z archive; unpack it and send one file",
    b"Rar!": "a RAR archive; unpack it and send one file",
    b"%PDF": "a PDF document; send the rows as JSON, JSONL, CSV or Parquet",
    b"ARROW1": "an Arrow file; save the table as Parquet and send that file",
    b"SQLite format 3": "an SQLite database; save the table as CSV or Parquet and send that file",
    b"version https://git-lfs": "only a pointer of Git LFS; fetch the file itself with `git lfs pull` and send that",
}


@dataclass
class Opening:
    """How files are opened: `folder` and `open_files` take what is unpacked, all files together at most `max_bytes`."""

    folder: Path | None
    open_files: ExitStack
    max_bytes: int
    encoding: str | None = None


def unpack(file: IO[bytes], opening: Opening) -> IO[bytes]:
    """Return the file itself, or if it is compressed with gzip or zstd, its content as a temporary file.

    Raises Unreadable for what unpacks to too much or not at all, and for files of a kind that has no rows.
    """
    head = _head(file)
    if not head.startswith((_GZIP, _ZSTD)):
        _refuse(head)
        return file
    kind = "gzip" if head.startswith(_GZIP) else "zstd"
    source = (
        gzip.GzipFile(fileobj=file, mode="rb")
        if kind == "gzip"
        else pa.CompressedInputStream(pa.PythonFile(file, "r"), kind)
    )
    target = opening.open_files.enter_context(TemporaryFile(dir=opening.folder))  # noqa: SIM115  # it outlives this call
    while chunk := _read(source, kind):
        opening.max_bytes -= len(chunk)
        if opening.max_bytes < 0:
            raise Unreadable(f"the {kind} file unpacks to more bytes than an upload may have; send a smaller file")
        target.write(chunk)
    head = _head(target)
    if head.startswith((_GZIP, _ZSTD)):
        raise Unreadable(f"the {kind} file is compressed twice; unpack it once before sending it")
    _refuse(head)
    return target


def _head(file: IO[bytes]) -> bytes:
    file.seek(0)
    head = file.read(512)
    file.seek(0)
    return head


def _read(source: "gzip.GzipFile | pa.NativeFile", kind: str) -> bytes:
    try:
        chunk: bytes = source.read(CHUNK_BYTES)
    except (EOFError, OSError, zlib.error):
        raise Unreadable(f"the {kind} file is damaged or cut off; send it again, or unpacked") from None
    return chunk


def _refuse(head: bytes) -> None:
    for start, kind in _REFUSED.items():
        if head.startswith(start):
            raise Unreadable(f"the file is {kind}")
    if head[257:262] == b"ustar":
        raise Unreadable("the file is a TAR archive; unpack it and send one file")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:14].lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise Unreadable(
            "the file is an HTML or XML page, such as the page of a failed download; send the rows instead"
        )
