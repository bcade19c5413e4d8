"""Registered models."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column
from uuid_utils.compat import uuid7

from db.tables.base import Table
from db.vocabulary import ModelKind, ModelSource


class Model(Table):
    """A registered model. Workers load registered models only."""

    __tablename__ = "models"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    source: Mapped[ModelSource]
    kind: Mapped[ModelKind] = mapped_column(default=ModelKind.FULL, server_default=ModelKind.FULL.value)
    location: Mapped[str] = mapped_column(String(500))
    """Where the files are, by source: a name, a folder in the models directory, a hub repository, or a folder in the
    artifact store."""
    revision: Mapped[str | None] = mapped_column(String(64))
    """What the client named of a hub model: a branch, a tag or a commit."""
    commit: Mapped[str | None] = mapped_column(String(40))
    """The commit that `revision` is. None for other sources, and until the hub has been asked. It never changes."""
    parent_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("models.id"))
    """The model that this one is derived from: the base model of an adapter."""
    dataset_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("datasets.id"))
    template: Mapped[str | None] = mapped_column(String(64))
    """The name of a prompt template, or the sha256 of a stored one: the one that the model was fine-tuned with, or that
    it was registered with. None: `auto`."""
    template_sha256: Mapped[str | None] = mapped_column(String(64))
    """The hash of the Jinja text that the model was fine-tuned with."""
    parameters: Mapped[dict[str, Any] | None]
    """The options of the job whose result the model is, or how the files of another model are quantized."""
    files: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """What the files of a local or a hub model are, as `models.loading.description` describes them; None if unknown."""
    job_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.id"), unique=True)
    """The job whose result the model is; None if it was registered by a client."""
    engine: Mapped[str | None] = mapped_column(String(32))
    """The engine that a worker chose for the model; None until one has served it."""
    engine_reason: Mapped[str | None] = mapped_column(Text)
    """Why the model is not served by the fast engine; None if it is."""
    created_at: Mapped[datetime]
