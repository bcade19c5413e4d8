"""Generation jobs."""

import uuid

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Table
from db.tables.mixins import EngineColumns, ExtractColumn, JobRequest, LoadColumn, PromptColumns, SamplingColumns


class Generation(JobRequest, SamplingColumns, LoadColumn, PromptColumns, ExtractColumn, EngineColumns, Table):
    """The request of a generation job and, once the job has succeeded, its completion."""

    __tablename__ = "generations"

    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"))
    prompt: Mapped[str] = mapped_column(Text)
    input: Mapped[str] = mapped_column(Text)
    completion: Mapped[str | None] = mapped_column(Text)
    finish_reason: Mapped[str | None] = mapped_column(String(16))
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]

    __table_args__ = (Index("ix_generations_model_id_job_id", "model_id", "job_id"),)
