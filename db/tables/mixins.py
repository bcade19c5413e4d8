"""Columns that the tables of several kinds of job share.

Queries and pruning find a table by its mixins, so a new kind of job needs no change there.
"""

import uuid
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.vocabulary import Split


class JobRequest:
    """The table of one kind of job: its rows hold what the client requested."""

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)


class MakesModel(JobRequest):
    """Jobs that register a model when they succeed. While such a job is queued or running, its name is taken."""

    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"), index=True)
    """The model that the job starts from: the parent of the result model."""
    name: Mapped[str] = mapped_column(String(200), index=True)
    """The name that the result model will have."""


class UsesDataset(JobRequest):
    """Jobs that read a dataset. While such a job is queued or running, the dataset can't be deleted."""

    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"), index=True)
    split: Mapped[Split]


class SamplingColumns:
    """How the next token is chosen, and where a completion ends."""

    max_new_tokens: Mapped[int | None]
    temperature: Mapped[float]
    top_p: Mapped[float]
    top_k: Mapped[int]
    seed: Mapped[int | None] = mapped_column(BigInteger)
    stop: Mapped[list[str]]


class LoadColumn:
    """How a worker loads the model for the job."""

    load: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """`method` and the options of that method; None loads the weights as they are stored."""


class PromptColumns:
    """How a job's messages become a prompt text."""

    template: Mapped[str | None] = mapped_column(String(64))
    """The name of a prompt template, or the sha256 of a stored one.

    If the request names none, or `auto`, the worker that runs the job stores which one it took.
    """
    template_sha256: Mapped[str | None] = mapped_column(String(64))
    """The hash of the Jinja text that the prompts are rendered with. The worker that runs the job sets it."""
    system: Mapped[str | None] = mapped_column(Text)
    """The system message of chats that have none."""
    chat_template_kwargs: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Variables for the template."""


class EngineColumns:
    """What computed the completions. The worker sets both; None for a baseline, and for what older versions stored."""

    engine: Mapped[str | None] = mapped_column(String(100))
    """The name of the engine."""
    engine_version: Mapped[str | None] = mapped_column(String(100))
    """The version of the engine's library."""


class ExtractColumn:
    """Which part of a completion is the page."""

    extract: Mapped[str | None] = mapped_column(String(16))
    """If the request does not say it, the worker that runs the job sets it. None until then: the whole completion."""
