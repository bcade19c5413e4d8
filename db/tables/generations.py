"""Generation jobs."""

import uuid

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Table
from db.tables.options import LoadColumn, SamplingColumns


class Generation(SamplingColumns, LoadColumn, Table):
    """The request and, once its job has ended, the completion of a generation job."""

    __tablename__ = "generations"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"))
    prompt: Mapped[str] = mapped_column(Text)
    input: Mapped[str] = mapped_column(Text)
    completion: Mapped[str | None] = mapped_column(Text)
    finish_reason: Mapped[str | None] = mapped_column(String(16))
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
