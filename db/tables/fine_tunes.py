"""Fine-tuning jobs."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Table
from db.tables.options import LoadColumn
from db.vocabulary import Split


class FineTune(LoadColumn, Table):
    """What a fine-tuning job was asked for, and the checkpoint that its next attempt goes on from."""

    __tablename__ = "fine_tunes"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"))
    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"), index=True)
    split: Mapped[Split]
    name: Mapped[str] = mapped_column(String(200))
    """What the adapter will be called."""
    lora: Mapped[dict[str, Any]]
    training: Mapped[dict[str, Any]]
    """TrainingOptions by name; an out-of-memory has its batch halved here for all that comes after."""
    devices: Mapped[int]
    checkpoint: Mapped[str | None] = mapped_column(String(500))
    """Its folder in the artifact store."""
    checkpoint_step: Mapped[int | None]


class FineTuneStep(Table):
    """What one logged optimizer step measured."""

    __tablename__ = "fine_tune_steps"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[float]
    loss: Mapped[float | None]
    learning_rate: Mapped[float | None]
    grad_norm: Mapped[float | None]
    tokens_per_second: Mapped[float | None]
    eval_loss: Mapped[float | None]
    created_at: Mapped[datetime]
