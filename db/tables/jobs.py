"""Jobs of every kind, and the events of each."""

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
    attempt: Mapped[int] = mapped_column(default=0)
    """Counts claims, and is the fencing token: a worker's writes name the attempt that it claimed."""
    max_attempts: Mapped[int]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    lease_expires_at: Mapped[datetime | None]
    worker: Mapped[str | None] = mapped_column(String(200))
    error_type: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    percent_done: Mapped[float | None]
    remaining_seconds: Mapped[float | None]
    published_at: Mapped[datetime]
    """When its last message was sent: what is older than everything in the queue has lost its message."""
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    result_model_id: Mapped[uuid.UUID | None] = column_property(
        select(Model.id).where(Model.job_id == id).correlate_except(Model).scalar_subquery()
    )
    """The model that the job registered when it succeeded. Not a column: read from `models` together with the job."""

    __table_args__ = (
        UniqueConstraint("api_key_id", "idempotency_key"),
        Index("ix_jobs_api_key_id_id", "api_key_id", "id"),
        Index("ix_jobs_status_id", "status", "id"),
        Index("ix_jobs_kind_id", "kind", "id"),
        Index("ix_jobs_batch_id_id", "batch_id", "id"),
    )


# Spelled out in the SQL rather than bound: a planner uses a partial index only where it can read the condition.
IS_QUEUED = Job.status == literal(JobStatus.QUEUED.value, String(16), literal_execute=True)


IS_RUNNING = Job.status == literal(JobStatus.RUNNING.value, String(16), literal_execute=True)


# Partial: they hold the live jobs alone, so what they serve costs the same whatever the history.
for name, condition, indexed in (
    ("ix_jobs_queued", IS_QUEUED, [Job.api_key_id]),
    ("ix_jobs_queued_published_at", IS_QUEUED, [Job.kind, Job.published_at]),
    ("ix_jobs_running_lease_expires_at", IS_RUNNING, [Job.lease_expires_at]),
):
    Index(name, *indexed, postgresql_where=condition, sqlite_where=condition)


class JobEvent(Table):
    """Something that its owner should know of a job, beyond its status."""

    __tablename__ = "job_events"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"))
    attempt: Mapped[int]
    type: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_job_events_job_id_id", "job_id", "id"),)
