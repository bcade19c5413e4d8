import uuid
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, PlainSerializer, PlainValidator, WithJsonSchema

from api.schemas.common import DatasetJobsQuery
from db.queries.job_names import JobNames
from db.tables.jobs import Job, JobEvent
from db.vocabulary import JobKind, JobStatus

MOST_PERCENT = 99.9
"""The most that a running job shows; 100 means that it is over."""

LOADING = "The model is loading."
"""What a job waits for whose model is loading. `api.queued_jobs` adds for how long."""

WORDS = [kind.word for kind in JobKind]


def _kind(value: Any) -> JobKind:
    """Return the kind. Raises ValueError if the value is neither the word for one nor what the database stores."""
    for kind in JobKind:
        if value in (kind, kind.word):
            return kind
    raise ValueError(f"must be one of {', '.join(WORDS)}")


Kind = Annotated[
    JobKind,
    PlainValidator(_kind),
    PlainSerializer(lambda kind: kind.word, return_type=str),
    WithJsonSchema({"type": "string", "enum": WORDS}),
]
"""A kind of job as clients read and write it: the word in its path."""


class JobsQuery(DatasetJobsQuery):
    kind: Kind | None = Field(None, description="Return only jobs of this kind.")
    batch_id: uuid.UUID | None = Field(None, description="Return only jobs of this batch of generations.")


class JobError(BaseModel):
    type: str = Field(examples=["model-unavailable"], description="A stable code that a client can branch on.")
    message: str = Field(description="A description of the error for people.")


class JobOut(BaseModel):
    """The fields that every kind of job has."""

    id: uuid.UUID
    kind: Kind = Field(description="The kind of the job. It is at `/v1/{kind}s/{id}` with all of its fields.")
    status: JobStatus
    batch_id: uuid.UUID | None = Field(description="The batch that a generation was submitted in.")
    attempt: int = Field(description="How many times a worker has started the job.")
    cancel_requested: bool = Field(description="Whether the job was asked to stop. A running job stops within seconds.")
    error: JobError | None = Field(description="Why the job failed; null unless its status is `failed`.")
    percent_done: float | None = Field(
        description="Progress from 0 to 100; 100 once the job has succeeded. Null for jobs that report none."
    )
    remaining_seconds: float | None = Field(
        description="Time left, estimated from the progress so far. Null while there is no estimate, such as while a "
        "result is saved, and unless the job runs or has succeeded."
    )
    waiting_for: str | None = Field(
        None,
        examples=["3 earlier jobs in the queue `builds`."],
        description="What the job waits for, in a sentence for people, if it has been queued for more than a second, "
        "or if it runs and its model is loading. Null otherwise. Lists name a loading model only, without the time.",
    )
    result_model_id: uuid.UUID | None = Field(
        description="The model that the job created; null until a fine-tune, merge or quantization has succeeded."
    )
    created_at: datetime
    started_at: datetime | None = Field(description="When the latest attempt started.")
    finished_at: datetime | None


class JobSummary(JobOut):
    """A job of any kind, and what it is called."""

    name: str | None = Field(
        description="The name of the model that the job makes, or of the evaluation; null for jobs without a name."
    )
    model: str | None = Field(description="The name of the model that the job uses, or of the baseline.")
    dataset: str | None = Field(description="The name of the dataset that the job uses; null for jobs without one.")

    @classmethod
    def of(cls, job: Job, names: JobNames) -> Self:
        return cls(**job_fields(job), **asdict(names))


class JobEventOut(BaseModel):
    """Something that happened while a job ran, such as an attempt that ran out of memory."""

    type: str = Field(examples=["out-of-memory"], description="A stable code that a client can branch on.")
    message: str = Field(description="A description of the event for people.")
    attempt: int = Field(description="The attempt during which it happened; 0 before the first one.")
    created_at: datetime

    @classmethod
    def of(cls, event: JobEvent) -> Self:
        return cls.model_validate(event, from_attributes=True)


class JobDetails(JobSummary):
    events: list[JobEventOut] = Field(description="What happened while the job ran, oldest first.")

    @classmethod
    def of_job_and(cls, job: Job, names: JobNames, events: Sequence[JobEvent]) -> Self:
        return cls(**job_fields(job), **asdict(names), events=[JobEventOut.of(event) for event in events])


def job_fields(job: Job) -> dict[str, Any]:
    """The values of JobOut's fields, for the representation of any kind of job."""
    error = JobError(type=job.error_type, message=job.error_message or "") if job.error_type else None
    columns = {name: getattr(job, name) for name in JobOut.model_fields if name not in ("error", "waiting_for")}
    waiting_for = LOADING if job.status == JobStatus.RUNNING and job.loading_since is not None else None
    return {**columns, "error": error, "waiting_for": waiting_for, **_progress(job)}


def _progress(job: Job) -> dict[str, float | None]:
    """What the last report says holds while the job runs. No time is left of a job that succeeded, and none can be
    named for one that failed, was cancelled, or waits for another attempt.

    The last report may say 100 % although the job still saves its result, which takes an unknown time.
    """
    if job.status == JobStatus.SUCCEEDED and job.percent_done is not None:
        return {"percent_done": 100.0, "remaining_seconds": 0.0}
    if job.status == JobStatus.RUNNING:
        if job.percent_done is not None and job.percent_done >= MOST_PERCENT:
            return {"percent_done": MOST_PERCENT, "remaining_seconds": None}
        return {"percent_done": job.percent_done, "remaining_seconds": job.remaining_seconds}
    return {"percent_done": job.percent_done, "remaining_seconds": None}
