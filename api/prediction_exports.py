"""An evaluation's predictions as a file, made while it is sent: in memory are a few rows at a time."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Any

from api.schemas.evaluations import PredictionOut
from db.tables.evaluations import Prediction

Batches = Iterable[Iterable[Prediction]]


class ExportFormat(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


MEDIA_TYPES = {
    ExportFormat.JSONL: "application/jsonl",
    ExportFormat.CSV: "text/csv",
    ExportFormat.PARQUET: "application/vnd.apache.parquet",
}


def export(format: ExportFormat, batches: Batches) -> Iterator[bytes]:
    """The file in pieces; its columns are PredictionOut's fields."""
    return _WRITERS[format](batches)


def _jsonl(batches: Batches) -> Iterator[bytes]:
    for batch in batches:
        yield "".join(PredictionOut.of(prediction).model_dump_json() + "\n" for prediction in batch).encode()


def _csv(batches: Batches) -> Iterator[bytes]:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, PredictionOut.model_fields)
    writer.writeheader()
    for batch in batches:
        writer.writerows(_rows(batch))
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def _parquet(batches: Batches) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema(
        [
            (name, next((types[kind] for kind in types if kind in _kinds(field.annotation)), pa.timestamp("us", "UTC")))
            for name, field in PredictionOut.model_fields.items()
        ]
    )
    sink = _Sink()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema) as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_pylist(_rows(batch), schema))
            yield sink.take()
    yield sink.take()


class _Sink(io.RawIOBase):
    """A file that is only written to: what was written since it was last taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        return len(self._pieces[-1])

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", (annotation,))


def _rows(batch: Iterable[Prediction]) -> list[dict[str, Any]]:
    return [PredictionOut.of(prediction).model_dump() for prediction in batch]


_WRITERS: dict[ExportFormat, Callable[[Batches], Iterator[bytes]]] = {
    ExportFormat.JSONL: _jsonl,
    ExportFormat.CSV: _csv,
    ExportFormat.PARQUET: _parquet,
}
