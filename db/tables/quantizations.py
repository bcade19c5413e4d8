"""Quantization jobs, and what they measure."""

import uuid
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Table
from db.tables.mixins import MakesModel, PromptColumns, UsesDataset


class Quantization(MakesModel, UsesDataset, PromptColumns, Table):
    """The request of a quantization job. Calibration uses rows of `split`; the report uses rows of the other split."""

    __tablename__ = "quantizations"

    options: Mapped[dict[str, Any]]
    """The fields of `QuantizationOptions`."""
    report_rows: Mapped[int]
    """How many rows to measure each variant of the model on; 0 makes no report."""


class QuantizedModule(Table):
    """The quantization error of one linear module."""

    __tablename__ = "quantized_modules"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    layer: Mapped[int] = mapped_column(primary_key=True)
    module: Mapped[str] = mapped_column(String(300), primary_key=True)
    error: Mapped[float | None]
    """Squared distance between the module's outputs before and after, averaged over the calibration tokens."""
    relative_error: Mapped[float | None]
    """The same, divided by the squared norm of the outputs before."""
    tokens: Mapped[int]
    """How many calibration tokens passed through the module."""
    seconds: Mapped[float]


class QuantizationVariant(Table):
    """A row of a quantization's report: the measurements of one variant of the model, such as `original`."""

    __tablename__ = "quantization_variants"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    variant: Mapped[str] = mapped_column(String(32), primary_key=True)
    error: Mapped[str | None] = mapped_column(Text)
    """Why the variant could not be measured; None if it was."""
    disk_bytes: Mapped[int | None] = mapped_column(BigInteger)
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    perplexity: Mapped[float | None]
    exact_match: Mapped[float | None]
    chrf: Mapped[float | None]
    rows: Mapped[int | None]
    tokens_per_second: Mapped[float | None]
    seconds: Mapped[float | None]
