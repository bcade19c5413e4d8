"""The rows that models learn from and are measured on. Imports no torch: baselines need rows, and none of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq


@dataclass(frozen=True)
class Row:
    instruction: str
    input: str
    output: str


def read_rows(file: Path) -> Iterator[Row]:
    """The rows of a Parquet file with the columns instruction, input and output, in order, a hundred at a time."""
    with pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(batch_size=100, columns=["instruction", "input", "output"]):
            for row in batch.to_pylist():
                yield Row(**row)
