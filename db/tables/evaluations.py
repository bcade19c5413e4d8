"""Evaluation jobs, and the predictions and scores that they make."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Table
from db.tables.options import LoadColumn, SamplingColumns
from db.vocabulary import Split

CHRF = "chrf"
"""The metric whose overall score comes from counts of its own, and is stored with a signature."""


class Evaluation(SamplingColumns, LoadColumn, Table):
    """What an evaluation job was asked for; `max_new_tokens`, if it named none, as its worker has then found it."""

    __tablename__ = "evaluations"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    model_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("models.id"))
    """None for a baseline."""
    model_name: Mapped[str] = mapped_column(String(200))
    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"))
    split: Mapped[Split]
    limit: Mapped[int | None]
    rows: Mapped[int]
    """How many rows there are to predict: the split's first."""
    rows_done: Mapped[int] = mapped_column(default=0)
    metrics: Mapped[list[str]]

    __table_args__ = (
        Index("ix_evaluations_model_name_job_id", "model_name", "job_id"),
        Index("ix_evaluations_dataset_id_job_id", "dataset_id", "job_id"),
    )


class Prediction(Table):
    """One row of an evaluation: what was asked, what the model made of it, what it should have been, and the scores.

    A score is None where the evaluation was not asked for it.
    """

    __tablename__ = "predictions"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True)
    """Its number in the split, from 0."""
    prompt: Mapped[str] = mapped_column(Text)
    input: Mapped[str] = mapped_column(Text)
    completion: Mapped[str] = mapped_column(Text)
    """The prediction itself; empty where the model could not be asked, which `error` then explains."""
    reference: Mapped[str] = mapped_column(Text)
    """The ground truth."""
    finish_reason: Mapped[str] = mapped_column(String(16))
    error: Mapped[str | None] = mapped_column(Text)
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    latency_seconds: Mapped[float]
    """From its place in the engine's queue to its last token; others ran in the same batch."""
    exact_match: Mapped[float | None]
    normalized_exact_match: Mapped[float | None]
    chrf: Mapped[float | None]
    chrf_statistics: Mapped[list[int] | None]
    """The counts whose sums over rows make the corpus chrF."""
    validity: Mapped[float | None]
    parse_errors: Mapped[int | None]
    structural_similarity: Mapped[float | None]
    text_similarity: Mapped[float | None]
    created_at: Mapped[datetime]


class EvaluationScore(Table):
    """A metric over all the rows of an evaluation that are done, with its 95 % interval."""

    __tablename__ = "evaluation_scores"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    metric: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[float]
    low: Mapped[float | None]
    high: Mapped[float | None]
    n: Mapped[int]
    signature: Mapped[str | None] = mapped_column(String(200))
    """sacrebleu's, of the chrF."""

    __table_args__ = (Index("ix_evaluation_scores_metric_value_job_id", "metric", "value", "job_id"),)
