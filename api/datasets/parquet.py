"""Reading Parquet files in a separate process with limited memory, because a few bytes may unpack to any size.

`python -m api.datasets.parquet` reads a file from its standard input. Without arguments it prints the names of the
columns as a JSON array. With a JSON array of columns as argument it prints each row as a JSON object on a line; values
that JSON can't represent become empty arrays.
"""

import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO

log = logging.getLogger(__name__)

MEMORY_BYTES = 1_000_000_000
"""The memory limit of the process. It must hold one page and one dictionary per column, and a few rows."""

_ROWS = 64


class Failed(Exception):
    """Raised if the file can't be read, or not within the memory limit."""


@contextmanager
def lines(file: IO[bytes], columns: Iterable[str] | None) -> Iterator[IO[bytes]]:
    """Open the output of the process for reading. Raises Failed on exit if the process did not succeed."""
    file.flush()
    with TemporaryFile() as copy:
        process = subprocess.Popen(
            [sys.executable, "-m", "api.datasets.parquet", *(() if columns is None else [json.dumps(list(columns))])],
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


def _descriptor(file: IO[bytes], copy: IO[bytes]) -> int:
    try:
        return file.fileno()
    except OSError:  # the file is in memory
        file.seek(0)
        copy.write(file.read())
        copy.flush()
        return copy.fileno()


def _print_rows(columns: list[str] | None) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    import pyarrow.parquet as pq

    with open(0, "rb") as source, open(1, "w", encoding="utf-8") as output:
        parquet = pq.ParquetFile(source, buffer_size=1_000_000)
        if columns is None:
            json.dump(parquet.schema_arrow.names, output)
            return
        for batch in parquet.iter_batches(_ROWS, columns=columns, use_threads=False):
            for row in range(len(batch)):
                [values] = batch.slice(row, 1).to_pylist()
                output.write(json.dumps(values, default=lambda _: []) + "\n")


if __name__ == "__main__":
    _print_rows(json.loads(sys.argv[1]) if len(sys.argv) > 1 else None)
    # Everything is printed. An orderly exit could still fail in the libraries' threads because of the memory limit.
    os._exit(0)
