"""What every kind of job has in common: the jobs of a message are claimed, run, and ended whatever happens."""

import uuid
from collections.abc import Callable

import pytest

from db.queries.generations import GenerationRow
from db.session import Database
from db.tables.jobs import Job
from db.vocabulary import ErrorType, JobKind, JobStatus, QueueName
from models.loading.refs import ModelLoadError
from models.serving.engine import EngineFailed, RequestError
from tests.databases import on_sqlite
from workers import queue
from workers.jobs import AttemptFailed, job
from workers.leases import Lease
from workers.runtime import Runtime

pytestmark = on_sqlite

Read = Callable[[uuid.UUID], GenerationRow]
SubmitJobs = Callable[..., list[Job]]


def raising(error: Exception, ended: int = 0) -> Callable[[Runtime, list[Lease]], None]:
    """Work that ends the first `ended` jobs of a message and then fails."""

    def work(runtime: Runtime, leases: list[Lease]) -> None:
        runtime.leases.finish(leases[:ended], None)
        raise error

    return work


def test_a_draining_worker_publishes_the_jobs_for_another_worker(
    runtime: Runtime, submit_jobs: SubmitJobs, read: Read
) -> None:
    [submitted] = submit_jobs()
    runtime.leases.draining = True
    job(JobKind.GENERATION)(raising(AssertionError()))(runtime, submitted.id)
    assert (read(submitted.id).job.status, read(submitted.id).job.attempt) == (JobStatus.QUEUED, 0)
    assert queue.oldest_message(QueueName.GENERATION) == submitted.id


def test_only_queued_jobs_run(runtime: Runtime, submit_jobs: SubmitJobs, database: Database) -> None:
    running, queued = submit_jobs(2)
    runtime.leases.claim([running.id], 60)
    claimed: list[uuid.UUID] = []

    @job(JobKind.GENERATION)
    def work(runtime: Runtime, leases: list[Lease]) -> None:
        claimed.extend(lease.job_id for lease in leases)
        runtime.leases.finish(leases, None)

    work(runtime, running.id, queued.id)
    assert claimed == [queued.id]


@pytest.mark.parametrize(
    ("error", "error_type"),
    [
        (RequestError("the prompt is too long"), ErrorType.INVALID_REQUEST),
        (ModelLoadError("there is no such model"), ErrorType.MODEL_UNAVAILABLE),
    ],
)
def test_an_error_that_would_come_again_fails_the_job(
    runtime: Runtime, submit_jobs: SubmitJobs, read: Read, error: Exception, error_type: ErrorType
) -> None:
    [submitted] = submit_jobs()
    job(JobKind.GENERATION)(raising(error))(runtime, submitted.id)
    failed = read(submitted.id).job
    assert (failed.status, failed.error_type, failed.error_message) == (JobStatus.FAILED, error_type, str(error))


@pytest.mark.parametrize("error", [AttemptFailed("it crashed"), EngineFailed("it died"), ZeroDivisionError("oops")])
def test_any_other_error_costs_an_attempt_of_the_jobs_that_had_not_ended(
    runtime: Runtime, submit_jobs: SubmitJobs, read: Read, error: Exception
) -> None:
    ended, again = submit_jobs(2)
    job(JobKind.GENERATION)(raising(error, ended=1))(runtime, ended.id, again.id)
    assert read(ended.id).job.status == JobStatus.SUCCEEDED
    assert (read(again.id).job.status, read(again.id).job.attempt) == (JobStatus.QUEUED, 1)
    assert queue.oldest_message(QueueName.GENERATION) == again.id
    assert runtime.leases.held() == []
