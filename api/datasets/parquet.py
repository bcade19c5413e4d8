"""Reading Parquet files in a separate process with limited memory, because a few bytes may unpack to any size.

`python -m api.datasets.parquet` reads a file from its standard input. Without arguments it prints the names of the
columns as a JSON array. With a JSON array of columns as argument it prints each row as a JSON object on a line; values
that JSON can't represent become empty arrays. With a second argument it prints on a line for each of these columns its
name and the number of rows that have something in it.
"""

import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile
from typing import IO, Any

from api.datasets.filled import is_filled

log = logging.getLogger(__name__)

MEMORY_BYTES = 1_000_000_000
"""The memory limit of the process. It must hold one page and one dictionary per column, and a few rows."""

_ROWS = 64


class Failed(Exception):
    """Raised if the file can't be read, or not within the memory limit."""


@contextmanager
def lines(file: IO[bytes], columns: Iterable[str] | None, *options: str) -> Iterator[IO[bytes]]:
    """Open the output of the process for reading. Raises Failed on exit if the process did not succeed."""
    arguments = () if columns is None else (json.dumps(list(columns)), *options)
    file.flush()
    with TemporaryFile() as copy:
        process = subprocess.Popen(
            [sys.executable, "-m", "api.datasets.parquet", *arguments],
            stdin=_descriptor(file, copy),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        try:
            yield process.stdout
            if status := process.wait():
                log.warning("the process that reads a Parquet file failed with exit status %d", status)
                raise Failed
        finally:
            process.kill()
            process.stdout.close()
            process.wait()


def count_filled(file: IO[bytes], columns: Collection[str]) -> dict[str, int | None]:
    """Return the number of rows that have something in each of these columns; None if that needs too much memory."""
    counts: dict[str, int | None] = dict.fromkeys(columns)
    if columns:
        with suppress(Failed), lines(file, columns, "--count") as output:
            counts.update(map(json.loads, output))
    return counts


def _descriptor(file: IO[bytes], copy: IO[bytes]) -> int:
    try:
        return file.fileno()
    except OSError:  # the file is in memory
        file.seek(0)
        copy.write(file.read())
        copy.flush()
        return copy.fileno()


def _print(columns: list[str] | None, *, count: bool) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    import pyarrow.parquet as pq

    with open(0, "rb") as source, open(1, "w", encoding="utf-8") as output:
        parquet = pq.ParquetFile(source, buffer_size=1_000_000)
        if columns is None:
            json.dump(parquet.schema_arrow.names, output)
        elif count:
            for column in columns:
                filled = sum(is_filled(values[column]) for values in _rows(parquet, [column]))
                print(json.dumps([column, filled]), file=output, flush=True)
        else:
            for values in _rows(parquet, columns):
                output.write(json.dumps(values, default=lambda _: []) + "\n")


def _rows(parquet: Any, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in parquet.iter_batches(_ROWS, columns=columns, use_threads=False):
        for row in range(len(batch)):
            yield from batch.slice(row, 1).to_pylist()


if __name__ == "__main__":
    _print(json.loads(sys.argv[1]) if len(sys.argv) > 1 else None, count=len(sys.argv) > 2)
    # Everything is printed. An orderly exit could still fail in the libraries' threads because of the memory limit.
    os._exit(0)
