"""Fine-tuning jobs, and the steps that they measure."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Table
from db.tables.mixins import LoadColumn, MakesModel, PromptColumns, UsesDataset


class FineTune(MakesModel, UsesDataset, LoadColumn, PromptColumns, Table):
    """The request of a fine-tuning job, and the checkpoint that its next attempt resumes from."""

    __tablename__ = "fine_tunes"

    lora: Mapped[dict[str, Any]]
    """The fields of `LoraOptions`."""
    training: Mapped[dict[str, Any]]
    """The fields of `TrainingOptions`. When the job runs out of memory, its worker halves the batch size here."""
    devices: Mapped[int]
    """How many GPUs to train on."""
    checkpoint: Mapped[str | None] = mapped_column(String(500))
    """The latest checkpoint's folder in the artifact store."""
    checkpoint_step: Mapped[int | None]


class FineTuneStep(Table):
    """The measurements of one logged optimizer step."""

    __tablename__ = "fine_tune_steps"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    """The number of optimizer steps so far, from 1."""
    epoch: Mapped[float]
    loss: Mapped[float | None]
    learning_rate: Mapped[float | None]
    grad_norm: Mapped[float | None]
    tokens_per_second: Mapped[float | None]
    eval_loss: Mapped[float | None]
    """The loss on the other split; None for steps without an evaluation."""
    created_at: Mapped[datetime]
