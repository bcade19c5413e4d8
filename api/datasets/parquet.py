"""A Parquet file as JSON lines, from a process of its own: what a few bytes unpack to is not to be had in ours.

`python -m api.datasets.parquet` reads the file on its standard input. It prints the names of its columns as a JSON
array; or, given columns, a JSON object for each row, with an empty array for what JSON has no word for.
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
"""What the process may take: for one page and its dictionary of each column, and some rows of them."""

_ROWS = 64


class Failed(Exception):
    """The file can't be read within bounds."""


@contextmanager
def lines(file: IO[bytes], columns: Iterable[str] | None) -> Iterator[IO[bytes]]:
    """What the process prints, as it comes. Raises Failed at the end if that is not all."""
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
                log.warning("the process that read a Parquet file ended with status %d", status)
                raise Failed
        finally:
            process.kill()
            process.stdout.close()
            process.wait()


def _descriptor(file: IO[bytes], copy: IO[bytes]) -> int:
    try:
        return file.fileno()
    except OSError:  # it is in memory
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
    # All is printed: whatever an orderly end runs into, beside the libraries' threads and within the limit, is no fault
    # of the file.
    os._exit(0)
