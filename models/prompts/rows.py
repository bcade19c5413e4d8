"""Dataset rows. Imports no torch, since baselines need rows but no model."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq


@dataclass(frozen=True)
class Row:
    """A dataset row: what to do, the optional data to do it with, and the page that a model should write."""

    instruction: str
    input: str
    output: str


def read_rows(file: Path) -> Iterator[Row]:
    """Yield the rows of a Parquet file with the columns instruction, input and output, in the file's order.

    Holds 100 rows in memory at a time.
    """
    with pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(batch_size=100, columns=["instruction", "input", "output"]):
            for row in batch.to_pylist():
                yield Row(**row)
