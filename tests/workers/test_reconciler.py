import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis
from sqlalchemy import update

from db import job_transitions
from db.queries import jobs
from db.session import Database
from db.tables.jobs import Job
from db.vocabulary import JobKind, JobStatus, QueueName
from workers import queue
from workers import reconciler as reconciler_module
from workers.reconciler import Reconciler, reconcile

SubmitJobs = Callable[..., list[Job]]


def published(redis: Redis) -> int:
    return int(redis.llen("test:generation"))


def age(database: Database, job_id: uuid.UUID, seconds: float) -> None:
    """Set when the job\'s last message was sent: this many seconds ago."""
    moment = datetime.now(UTC) - timedelta(seconds=seconds)
    with database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(published_at=moment))


def test_a_job_with_an_expired_lease_is_queued_and_published_again(database: Database, submit_jobs: SubmitJobs) -> None:
    [job] = submit_jobs()
    with database.write() as session:
        job_transitions.claim(session, [job.id], worker="a", lease_seconds=-1)
    reconcile(database, grace_seconds=10)
    assert queue.oldest_message(QueueName.GENERATION) == job.id


def test_with_an_empty_queue_every_waiting_job_is_published_again(
    database: Database, submit_jobs: SubmitJobs, redis: Redis
) -> None:
    old, fresh = submit_jobs(2)
    age(database, old.id, 60)
    reconcile(database, grace_seconds=10)
    assert published(redis) == 1
    assert queue.oldest_message(QueueName.GENERATION) == old.id
    assert fresh.id != old.id


def test_a_job_published_before_the_oldest_message_is_published_again(
    database: Database, submit_jobs: SubmitJobs, redis: Redis
) -> None:
    lost, oldest, newer = submit_jobs(3)
    for job, seconds in ((lost, 120), (oldest, 60), (newer, 59)):
        age(database, job.id, seconds)
    queue.publish(JobKind.GENERATION, [oldest.id])
    queue.publish(JobKind.GENERATION, [newer.id])
    reconcile(database, grace_seconds=10)
    assert published(redis) == 3, "the two in the queue must not be sent again"


def test_reconciling_twice_publishes_a_job_once(database: Database, submit_jobs: SubmitJobs, redis: Redis) -> None:
    [job] = submit_jobs()
    age(database, job.id, 60)
    reconcile(database, grace_seconds=10)
    reconcile(database, grace_seconds=10)
    assert published(redis) == 1


@pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.CANCELLED])
def test_jobs_that_are_not_queued_are_not_published(
    status: JobStatus, database: Database, submit_jobs: SubmitJobs, redis: Redis
) -> None:
    [job] = submit_jobs()
    with database.write() as session:
        if status == JobStatus.RUNNING:
            job_transitions.claim(session, [job.id], worker="a", lease_seconds=30)
        else:
            job_transitions.request_cancel(session, job.id)
    age(database, job.id, 60)
    reconcile(database, grace_seconds=10)
    assert published(redis) == 0


def test_after_a_gap_workers_can_extend_their_leases_before_these_expire(
    database: Database, submit_jobs: SubmitJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test sets the reconciler's clock. A gap is a time in which the database was down or the machine suspended."""
    [job] = submit_jobs(max_attempts=9)
    clock = datetime.now(UTC)
    monkeypatch.setattr(reconciler_module, "now", lambda _: clock)
    reconciler = Reconciler(database, grace_seconds=10, lease_seconds=4, settle_seconds=1)

    def claim_with_an_expired_lease() -> None:
        with database.write() as session:
            assert job_transitions.claim(session, [job.id], worker="a", lease_seconds=-1)

    def status_after(seconds: float) -> str:
        nonlocal clock
        clock += timedelta(seconds=seconds)
        reconciler()
        with database.read() as session:
            [row] = jobs.get_many(session, [job.id])
        return row.status

    for gap in (0, 2.1):  # 0 is the first pass of a new worker
        claim_with_an_expired_lease()
        assert status_after(gap) == JobStatus.RUNNING
        assert status_after(0.9) == JobStatus.RUNNING
        assert status_after(0.1) == JobStatus.QUEUED
    claim_with_an_expired_lease()
    assert status_after(1.9) == JobStatus.QUEUED, "there was no gap"
