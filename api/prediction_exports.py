"""Files with the predictions of an evaluation, created while they are sent. Only a few rows are in memory at a time."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from types import NoneType
from typing import Any, get_args

from api.schemas.common import MessageOut
from api.schemas.predictions import PredictionOut
from db.tables.evaluations import Prediction

Batches = Iterable[Sequence[Prediction]]
Outputs = Iterable[Sequence[PredictionOut]]


class ExportFormat(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


MEDIA_TYPES = {
    ExportFormat.JSONL: "application/jsonl",
    ExportFormat.CSV: "text/csv",
    ExportFormat.PARQUET: "application/vnd.apache.parquet",
}


def export(format: ExportFormat, batches: Batches, extract: str | None) -> Iterator[bytes]:
    """Yield the file in pieces. Its columns are the fields of PredictionOut. `extract` is the evaluation's."""
    return _WRITERS[format]([PredictionOut.of(prediction, extract) for prediction in batch] for batch in batches)


def _jsonl(batches: Outputs) -> Iterator[bytes]:
    for batch in batches:
        yield "".join(prediction.model_dump_json() + "\n" for prediction in batch).encode()


def _csv(batches: Outputs) -> Iterator[bytes]:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, PredictionOut.model_fields)
    writer.writeheader()
    for batch in batches:
        for row in _rows(batch):
            context = row["context"] and json.dumps(row["context"], ensure_ascii=False)
            writer.writerow(row | {"context": context})
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def _parquet(batches: Outputs) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    message = pa.struct([(name, pa.string()) for name in MessageOut.model_fields])
    types = {
        list[MessageOut]: pa.list_(message),
        str: pa.string(),
        int: pa.int64(),
        float: pa.float64(),
        datetime: pa.timestamp("us", "UTC"),
    }
    columns = [(name, types[_plain_type(field.annotation)]) for name, field in PredictionOut.model_fields.items()]
    schema = pa.schema(columns)
    sink = _Sink()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema) as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_pylist(_rows(batch), schema))
            yield sink.take()
    yield sink.take()


class _Sink(io.RawIOBase):
    """A writable file that hands over what was written since the last call of `take`."""

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


def _plain_type(annotation: Any) -> Any:
    """Return `X` for `X` and for `X | None`."""
    return next((type_ for type_ in get_args(annotation) if type_ is not NoneType), annotation)


def _rows(batch: Iterable[PredictionOut]) -> list[dict[str, Any]]:
    return [prediction.model_dump() for prediction in batch]


_WRITERS: dict[ExportFormat, Callable[[Outputs], Iterator[bytes]]] = {
    ExportFormat.JSONL: _jsonl,
    ExportFormat.CSV: _csv,
    ExportFormat.PARQUET: _parquet,
}
