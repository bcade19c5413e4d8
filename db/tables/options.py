"""Columns that the tables of several kinds of job have."""

from typing import Any

from sqlalchemy import JSON, BigInteger
from sqlalchemy.orm import Mapped, mapped_column


class SamplingColumns:
    """How tokens are chosen, and where a completion ends."""

    max_new_tokens: Mapped[int | None]
    temperature: Mapped[float]
    top_p: Mapped[float]
    top_k: Mapped[int]
    seed: Mapped[int | None] = mapped_column(BigInteger)
    stop: Mapped[list[str]]


class LoadColumn:
    """How the model is loaded for the job: `method` and what it takes. None is as it is stored."""

    load: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
