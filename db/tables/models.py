"""Registered models."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column
from uuid_utils.compat import uuid7

from db.tables.base import Table
from db.vocabulary import ModelKind, ModelSource


class Model(Table):
    """A model that jobs may name; nothing else is ever loaded."""

    __tablename__ = "models"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    source: Mapped[ModelSource]
    kind: Mapped[ModelKind] = mapped_column(default=ModelKind.FULL, server_default=ModelKind.FULL.value)
    location: Mapped[str] = mapped_column(String(500))
    revision: Mapped[str | None] = mapped_column(String(64))
    parent_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("models.id"))
    """What it was made from; an adapter is loaded over it."""
    dataset_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("datasets.id"))
    template: Mapped[str | None] = mapped_column(String(64))
    parameters: Mapped[dict[str, Any] | None]
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id"), unique=True)
    """The job that made it."""
    created_at: Mapped[datetime]
