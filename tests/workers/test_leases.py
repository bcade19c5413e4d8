import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import event, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from db import job_transitions
from db.queries import generations, job_events, quantizations
from db.queries.generations import Completed, GenerationRow
from db.session import Database
from db.tables.jobs import Job
from db.vocabulary import JobStatus, QueueName
from workers import queue
from workers.leases import Interrupt, Lease, Leases
from workers.retrying import retry_database

SubmitJobs = Callable[..., list[Job]]
Read = Callable[[uuid.UUID], GenerationRow]


@pytest.fixture
def leases(database: Database) -> Leases:
    return Leases(database, "a", lease_seconds=30)


def claim_one(leases: Leases, submit_jobs: SubmitJobs, time_limit_seconds: float = 60) -> Lease:
    [job] = submit_jobs()
    [lease] = leases.claim([job.id], time_limit_seconds)
    return lease


def store(session: Session, job_ids: set[uuid.UUID]) -> None:
    completed = Completed("<p>page", "stop", 3, 2, "raw", "{{ messages }}", "none", "some", "1")
    generations.store(session, dict.fromkeys(job_ids, completed))


def take_over(database: Database, job_id: uuid.UUID) -> None:
    """Let the lease expire, and another worker claim the job."""
    with database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(lease_expires_at=datetime(2020, 1, 1, tzinfo=UTC)))
        job_transitions.requeue_expired(session)
        job_transitions.claim(session, [job_id], worker="b", lease_seconds=30)


def test_a_heartbeat_does_not_interrupt_a_lease_that_holds(leases: Leases, submit_jobs: SubmitJobs) -> None:
    lease = claim_one(leases, submit_jobs)
    leases.heartbeat()
    assert lease.interrupted is None


def test_a_heartbeat_interrupts_leases_that_are_cancelled_lost_or_over_their_time_limit(
    database: Database, leases: Leases, submit_jobs: SubmitJobs
) -> None:
    cancelled, lost, well = (claim_one(leases, submit_jobs) for _ in range(3))
    slow = claim_one(leases, submit_jobs, time_limit_seconds=0)
    with database.write() as session:
        job_transitions.request_cancel(session, cancelled.job_id)
    take_over(database, lost.job_id)
    leases.heartbeat()
    assert [lease.interrupted for lease in (cancelled, lost, slow, well)] == [
        Interrupt.CANCELLED,
        Interrupt.LEASE_LOST,
        Interrupt.TIME_LIMIT,
        None,
    ]


def test_an_interrupt_stops_the_work_once_before_or_after_it_is_registered(
    leases: Leases, submit_jobs: SubmitJobs
) -> None:
    stops: list[str] = []
    early, late = claim_one(leases, submit_jobs), claim_one(leases, submit_jobs)
    early.on_interrupt(lambda: stops.append("early"))
    leases.interrupt_all(Interrupt.SHUTDOWN)
    early.interrupt(Interrupt.CANCELLED)
    late.on_interrupt(lambda: stops.append("late"))
    assert stops == ["early", "late"]
    assert early.interrupted == Interrupt.SHUTDOWN


def test_success_stores_the_result_with_the_status(leases: Leases, submit_jobs: SubmitJobs, read: Read) -> None:
    lease = claim_one(leases, submit_jobs)
    leases.finish([lease], None, store)
    row = read(lease.job_id)
    assert (row.job.status, row.generation.completion) == (JobStatus.SUCCEEDED, "<p>page")
    assert leases.held() == []


def test_a_result_is_dropped_if_the_lease_is_lost(
    database: Database, leases: Leases, submit_jobs: SubmitJobs, read: Read
) -> None:
    lost, held = claim_one(leases, submit_jobs), claim_one(leases, submit_jobs)
    take_over(database, lost.job_id)
    leases.finish([lost, held], None, store)
    assert read(lost.job_id).generation.completion is None
    assert read(lost.job_id).job.worker == "b"
    assert read(held.job_id).generation.completion == "<p>page"


def test_a_job_does_not_end_if_storing_its_result_fails(leases: Leases, submit_jobs: SubmitJobs, read: Read) -> None:
    lease = claim_one(leases, submit_jobs)

    def broken(_session: Session, _job_ids: set[uuid.UUID]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leases.finish([lease], None, broken)
    assert read(lease.job_id).job.status == JobStatus.RUNNING


def test_jobs_given_back_and_requeued_are_published_again(leases: Leases, submit_jobs: SubmitJobs, read: Read) -> None:
    given_back, requeued = claim_one(leases, submit_jobs), claim_one(leases, submit_jobs)
    leases.give_back([given_back])
    assert queue.oldest_message(QueueName.GENERATION) == given_back.job_id
    leases.requeue([requeued], "the engine died")
    for lease, max_attempts in ((given_back, 4), (requeued, 3)):
        job = read(lease.job_id).job
        assert (job.status, job.max_attempts) == (JobStatus.QUEUED, max_attempts)


def test_a_transaction_is_retried_while_the_database_is_down() -> None:
    answers = threading.Event()
    threading.Timer(0.3, answers.set).start()

    def transaction() -> str:
        if not answers.is_set():
            raise OperationalError("UPDATE", {}, ConnectionError())
        return "done"

    assert retry_database(transaction) == "done"


def test_claiming_is_retried_while_the_database_is_down(
    leases: Leases, database: Database, submit_jobs: SubmitJobs
) -> None:
    [job] = submit_jobs()
    away = threading.Event()
    away.set()
    threading.Timer(0.3, away.clear).start()

    @event.listens_for(database.engine, "begin")
    def begin(_: object) -> None:
        if away.is_set():
            raise OperationalError("BEGIN", {}, ConnectionError())

    [lease] = leases.claim([job.id], 60)
    assert lease.job_id == job.id


def test_results_are_stored_once_even_if_the_answer_to_their_commit_is_lost(
    leases: Leases, submit_jobs: SubmitJobs, database: Database
) -> None:
    lease = claim_one(leases, submit_jobs)
    errors = {"error": 0.5, "relative_error": 0.1, "tokens": 9, "seconds": 0.2}
    answers = iter([OperationalError("COMMIT", {}, ConnectionError())])

    def write(session: Session) -> None:
        quantizations.add_module(session, lease.job_id, {"layer": 0, "module": "q_proj", **errors})
        quantizations.add_variant(session, lease.job_id, {"variant": "gptq", "rows": 3})
        job_events.add(session, lease.job_id, lease.claim.attempt, "precision", "float16 is slow here")

        @event.listens_for(session, "after_commit")
        def lose_answer(_: Session) -> None:
            for error in answers:
                raise error

    assert leases.save_progress(lease, 50, 10, write)
    with database.read() as session:
        assert len(quantizations.modules(session, lease.job_id)) == 1
        assert len(quantizations.variants(session, lease.job_id)) == 1
        assert len(job_events.of_job(session, lease.job_id)) == 1
    assert next(answers, None) is None


def test_retrying_ends_with_the_database_error_after_the_given_time() -> None:
    def transaction() -> None:
        raise OperationalError("UPDATE", {}, ConnectionError())

    with pytest.raises(OperationalError):
        retry_database(transaction, retry_seconds=0)
