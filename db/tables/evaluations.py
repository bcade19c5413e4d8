"""Evaluation jobs, and the predictions and scores that they store."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Table
from db.tables.mixins import EngineColumns, ExtractColumn, LoadColumn, PromptColumns, SamplingColumns, UsesDataset

CHRF = "chrf"
"""The metric whose overall score is computed from `chrf_statistics` rather than as a mean of the rows' scores."""


class Evaluation(UsesDataset, SamplingColumns, LoadColumn, PromptColumns, ExtractColumn, EngineColumns, Table):
    """The request of an evaluation job, and how many rows are done.

    If the request has no `max_new_tokens`, the worker that runs the job sets it. If another attempt went on with
    another engine, `engine` and `engine_version` name both.
    """

    __tablename__ = "evaluations"

    name: Mapped[str | None] = mapped_column(String(200), index=True)
    """What the client calls the evaluation. It need not be unique."""
    model_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("models.id"))
    """None for a baseline."""
    model_name: Mapped[str] = mapped_column(String(200))
    """The name of the model or the baseline."""
    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"))  # without the mixin's index: see below
    limit: Mapped[int | None]
    """The most rows to predict, as requested."""
    rows: Mapped[int]
    """How many rows to predict: the first of the split."""
    rows_done: Mapped[int] = mapped_column(default=0)
    metrics: Mapped[list[str]]

    __table_args__ = (
        Index("ix_evaluations_model_name_job_id", "model_name", "job_id"),
        Index("ix_evaluations_dataset_id_job_id", "dataset_id", "job_id"),
    )


class Prediction(EngineColumns, Table):
    """One row of an evaluation: the prompt, the model's completion, the reference and the scores.

    A score is None if the evaluation does not compute that metric.
    """

    __tablename__ = "predictions"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True)
    """The number of the row in its split, from 0."""
    context: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    """The messages before the prompt, in order; None if there are none."""
    prompt: Mapped[str] = mapped_column(Text)
    input: Mapped[str] = mapped_column(Text)
    completion: Mapped[str] = mapped_column(Text)
    """What the model answered; empty if it gave no answer, for the reason in `error`."""
    reference: Mapped[str] = mapped_column(Text)
    """The output that the dataset has for this row."""
    finish_reason: Mapped[str] = mapped_column(String(16))
    error: Mapped[str | None] = mapped_column(Text)
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    latency_seconds: Mapped[float]
    """Time from submitting the request to the engine until its last token, while other requests share the batch."""
    exact_match: Mapped[float | None]
    normalized_exact_match: Mapped[float | None]
    chrf: Mapped[float | None]
    chrf_statistics: Mapped[list[int] | None]
    """sacrebleu's n-gram counts of this row. Their sums over all rows give the corpus chrF."""
    validity: Mapped[float | None]
    parse_errors: Mapped[int | None]
    structural_similarity: Mapped[float | None]
    text_similarity: Mapped[float | None]
    created_at: Mapped[datetime]


class EvaluationScore(Table):
    """An overall score: one metric over all rows of an evaluation that are done, with its 95 % confidence interval."""

    __tablename__ = "evaluation_scores"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    metric: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[float]
    low: Mapped[float | None]
    high: Mapped[float | None]
    n: Mapped[int]
    """How many rows the score is over."""
    signature: Mapped[str | None] = mapped_column(String(200))
    """sacrebleu's description of how it computed the chrF; None for other metrics."""

    __table_args__ = (Index("ix_evaluation_scores_metric_value_job_id", "metric", "value", "job_id"),)
