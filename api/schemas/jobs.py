import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field

from api.schemas.common import JobPageQuery
from db.tables.jobs import Job, JobEvent
from db.vocabulary import JobKind, JobStatus


class JobsQuery(JobPageQuery):
    kind: JobKind | None = Field(None, description="Return only jobs of this kind.")
    batch_id: uuid.UUID | None = Field(None, description="Return only jobs of this batch of generations.")


class JobError(BaseModel):
    type: str = Field(examples=["model-unavailable"], description="A stable code that a client can branch on.")
    message: str = Field(description="A description of the error for people.")


class JobOut(BaseModel):
    """The fields that every kind of job has."""

    id: uuid.UUID
    kind: JobKind
    status: JobStatus
    batch_id: uuid.UUID | None = Field(description="The batch that a generation was submitted in.")
    attempt: int = Field(description="How many times a worker has started the job.")
    cancel_requested: bool = Field(description="Whether the job was asked to stop. A running job stops within seconds.")
    error: JobError | None = Field(description="Why the job failed; null unless its status is `failed`.")
    percent_done: float | None = Field(description="Progress from 0 to 100; null for jobs that report none.")
    remaining_seconds: float | None = Field(description="Time left, estimated from the progress so far.")
    result_model_id: uuid.UUID | None = Field(
        description="The model that the job created; null until a fine-tune, merge or quantization has succeeded."
    )
    created_at: datetime
    started_at: datetime | None = Field(description="When the latest attempt started.")
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(**job_fields(job))


class JobEventOut(BaseModel):
    """Something that happened while a job ran, such as an attempt that ran out of memory."""

    type: str = Field(examples=["out-of-memory"], description="A stable code that a client can branch on.")
    message: str = Field(description="A description of the event for people.")
    attempt: int = Field(description="The attempt during which it happened; 0 before the first one.")
    created_at: datetime

    @classmethod
    def of(cls, event: JobEvent) -> Self:
        return cls.model_validate(event, from_attributes=True)


class JobDetails(JobOut):
    events: list[JobEventOut] = Field(description="What happened while the job ran, oldest first.")

    @classmethod
    def of_job_and(cls, job: Job, events: Sequence[JobEvent]) -> Self:
        return cls(**job_fields(job), events=[JobEventOut.of(event) for event in events])


def job_fields(job: Job) -> dict[str, object]:
    """The values of JobOut's fields, for the representation of any kind of job."""
    error = JobError(type=job.error_type, message=job.error_message or "") if job.error_type else None
    columns = {name: getattr(job, name) for name in JobOut.model_fields if name != "error"}
    return {**columns, "error": error}
