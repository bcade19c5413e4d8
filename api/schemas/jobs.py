import uuid
from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field

from db.tables.jobs import Job
from db.vocabulary import JobKind, JobStatus


class JobError(BaseModel):
    type: str = Field(examples=["model-unavailable"], description="What a client may branch on.")
    message: str


class JobOut(BaseModel):
    """What every kind of job has."""

    id: uuid.UUID
    kind: JobKind
    status: JobStatus
    batch_id: uuid.UUID | None
    attempt: int = Field(description="How often a worker has begun it.")
    cancel_requested: bool
    error: JobError | None = Field(description="Why it failed.")
    percent_done: float | None = Field(description="0 to 100, of jobs that take long.")
    remaining_seconds: float | None = Field(description="As the pace so far has it.")
    created_at: datetime
    started_at: datetime | None = Field(description="When its latest attempt began.")
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(**job_fields(job))


def job_fields(job: Job) -> dict[str, object]:
    """The fields that every representation of a job begins with."""
    error = JobError(type=job.error_type, message=job.error_message or "") if job.error_type else None
    return {
        "id": job.id,
        "kind": job.kind,
        "status": job.status,
        "batch_id": job.batch_id,
        "attempt": job.attempt,
        "cancel_requested": job.cancel_requested,
        "error": error,
        "percent_done": job.percent_done,
        "remaining_seconds": job.remaining_seconds,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }
