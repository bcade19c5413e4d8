"""Jobs of every kind, and their events."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, literal, select
from sqlalchemy.orm import Mapped, column_property, mapped_column
from uuid_utils.compat import uuid7

from db.tables.base import Table
from db.tables.models import Model
from db.vocabulary import JobKind, JobStatus


class Job(Table):
    __tablename__ = "jobs"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    kind: Mapped[JobKind]
    status: Mapped[JobStatus] = mapped_column(default=JobStatus.QUEUED)
    api_key_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("api_keys.id"))
    batch_id: Mapped[uuid.UUID | None]
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    request_sha256: Mapped[str | None] = mapped_column(String(64))
    """Hash of the request body, to detect an idempotency key that is sent with another request."""
    attempt: Mapped[int] = mapped_column(default=0)
    """How often the job was claimed. It is the fencing token: each write of a worker names the attempt it claimed."""
    max_attempts: Mapped[int]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    lease_expires_at: Mapped[datetime | None]
    worker: Mapped[str | None] = mapped_column(String(200))
    error_type: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    percent_done: Mapped[float | None]
    """Progress from 0 to 100."""
    remaining_seconds: Mapped[float | None]
    published_at: Mapped[datetime]
    """When the latest message for the job was sent to the queue, by which the reconciler finds lost messages."""
    started_at: Mapped[datetime | None]
    loading_since: Mapped[datetime | None]
    """Since when a running job waits for its model to be loaded; None in every other state."""
    finished_at: Mapped[datetime | None]
    result_model_id: Mapped[uuid.UUID | None] = column_property(
        select(Model.id).where(Model.job_id == id).correlate_except(Model).scalar_subquery()
    )
    """The model that the job registered when it succeeded. This is no column: it is read from the table `models`."""

    __table_args__ = (
        UniqueConstraint("api_key_id", "idempotency_key"),
        Index("ix_jobs_api_key_id_id", "api_key_id", "id"),
        Index("ix_jobs_status_id", "status", "id"),
        Index("ix_jobs_kind_id", "kind", "id"),
        Index("ix_jobs_batch_id_id", "batch_id", "id"),
    )


# Literals rather than bound parameters: a database uses a partial index only if it sees the value of the condition.
IS_QUEUED = Job.status == literal(JobStatus.QUEUED.value, String(16), literal_execute=True)
IS_RUNNING = Job.status == literal(JobStatus.RUNNING.value, String(16), literal_execute=True)
IS_LIVE = IS_QUEUED | IS_RUNNING

# Partial indexes hold live jobs only, so queries through them cost the same however many jobs have finished.
for name, condition, indexed in (
    ("ix_jobs_queued_api_key_id", IS_QUEUED, [Job.api_key_id]),
    ("ix_jobs_queued_kind_published_at", IS_QUEUED, [Job.kind, Job.published_at]),
    ("ix_jobs_running_lease_expires_at", IS_RUNNING, [Job.lease_expires_at]),
):
    Index(name, *indexed, postgresql_where=condition, sqlite_where=condition)


class JobEvent(Table):
    """Something that happened to a job and that its owner should know, besides changes of its status."""

    __tablename__ = "job_events"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"))
    attempt: Mapped[int]
    type: Mapped[str] = mapped_column(String(64))
    """A short name that clients may rely on, such as `out-of-memory`."""
    message: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_job_events_job_id_id", "job_id", "id"),)
