"""Quantization jobs, and what they measure."""

import uuid
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Table
from db.vocabulary import Split


class Quantization(Table):
    """What a quantization job was asked for."""

    __tablename__ = "quantizations"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"))
    name: Mapped[str] = mapped_column(String(200))
    """What the quantized model will be called."""
    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"), index=True)
    split: Mapped[Split]
    """The calibration rows; the report is on rows of the other one."""
    options: Mapped[dict[str, Any]]
    """QuantizationOptions by name."""
    report_rows: Mapped[int]


class QuantizedModule(Table):
    """How far the output of one module moved when it was quantized."""

    __tablename__ = "quantized_modules"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    layer: Mapped[int] = mapped_column(primary_key=True)
    module: Mapped[str] = mapped_column(String(300), primary_key=True)
    error: Mapped[float | None]
    relative_error: Mapped[float | None]
    tokens: Mapped[int]
    seconds: Mapped[float]


class QuantizationVariant(Table):
    """One way to run the model, measured: a row of a quantization's report."""

    __tablename__ = "quantization_variants"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    variant: Mapped[str] = mapped_column(String(32), primary_key=True)
    error: Mapped[str | None] = mapped_column(Text)
    """Why it could not be measured."""
    disk_bytes: Mapped[int | None] = mapped_column(BigInteger)
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    perplexity: Mapped[float | None]
    exact_match: Mapped[float | None]
    chrf: Mapped[float | None]
    rows: Mapped[int | None]
    tokens_per_second: Mapped[float | None]
    seconds: Mapped[float | None]
