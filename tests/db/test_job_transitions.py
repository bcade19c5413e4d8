"""How the status of a job changes, in every order of events and on both databases."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import update

from db import job_transitions
from db.job_transitions import Claim
from db.queries import generations, jobs
from db.queries.generations import Completed
from db.session import Database, now
from db.tables.jobs import Job
from db.vocabulary import ErrorType, JobStatus

SubmitJobs = Callable[..., list[Job]]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def claim(database: Database, job_ids: list[uuid.UUID], worker: str = "a") -> list[Claim]:
    with database.write() as session:
        return job_transitions.claim(session, job_ids, worker=worker, lease_seconds=30)


def succeed(database: Database, held: Claim, completion: str) -> bool:
    """End the job and, if the lease was held, store the result, in one transaction as a worker does."""
    with database.write() as session:
        if ended := job_transitions.succeed(session, [held]):
            generations.store(
                session,
                {
                    job_id: Completed(completion, "stop", 1, 1, "raw", "{{ messages }}", "none", "some", "1")
                    for job_id in ended
                },
            )
        return bool(ended)


def expire_lease(database: Database, job_id: uuid.UUID) -> None:
    with database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(lease_expires_at=LONG_AGO))


def read(database: Database, job_id: uuid.UUID) -> Job:
    with database.read() as session:
        [job] = jobs.get_many(session, [job_id])
        return job


def test_a_job_is_claimed_by_one_worker_only(database: Database, submit_jobs: SubmitJobs) -> None:
    [job] = submit_jobs()
    assert claim(database, [job.id]) == [Claim(job.id, 1)]
    assert claim(database, [job.id], "b") == []
    running = read(database, job.id)
    assert (running.status, running.attempt, running.worker) == (JobStatus.RUNNING, 1, "a")


def test_workers_that_claim_at_the_same_time_get_different_jobs(database: Database, submit_jobs: SubmitJobs) -> None:
    ids = [job.id for job in submit_jobs(40)]
    with ThreadPoolExecutor(8) as threads:
        claimed = [c for claims in threads.map(lambda n: claim(database, ids, f"{n}"), range(8)) for c in claims]
    assert sorted(c.job_id for c in claimed) == ids


def test_extending_a_lease_moves_its_end_by_the_lease_time(database: Database, submit_jobs: SubmitJobs) -> None:
    [job] = submit_jobs()
    [held] = claim(database, [job.id])
    expire_lease(database, job.id)
    before = datetime.now(UTC)
    with database.write() as session:
        assert job_transitions.extend(session, [held], lease_seconds=60) == {held: False}
    lease = read(database, job.id).lease_expires_at
    assert lease is not None
    assert before <= lease - timedelta(seconds=60) <= datetime.now(UTC)


def test_a_worker_that_lost_its_lease_cannot_change_the_job(database: Database, submit_jobs: SubmitJobs) -> None:
    [job] = submit_jobs()
    [lost] = claim(database, [job.id])
    expire_lease(database, job.id)
    with database.write() as session:
        [requeued] = job_transitions.requeue_expired(session)
    assert requeued.status == JobStatus.QUEUED
    [held] = claim(database, [job.id], "b")

    assert not succeed(database, lost, "late")
    with database.write() as session:
        assert job_transitions.extend(session, [lost], lease_seconds=60) == {}
        assert job_transitions.fail(session, [lost], ErrorType.TIME_LIMIT, "late") == set()
        assert job_transitions.cancel(session, [lost]) == set()
        assert job_transitions.give_back(session, [lost]) == []
        assert job_transitions.requeue(session, [lost], "late") == []
    assert succeed(database, held, "right")
    with database.read() as session:
        row = generations.get(session, job.id, owner=None)
    assert row is not None
    assert row.generation.completion == "right"


def test_a_job_whose_lease_has_not_expired_is_not_requeued(database: Database, submit_jobs: SubmitJobs) -> None:
    [job] = submit_jobs()
    claim(database, [job.id])
    with database.write() as session:
        assert job_transitions.requeue_expired(session) == []


def test_a_job_whose_last_attempt_is_lost_fails_with_the_reason(database: Database, submit_jobs: SubmitJobs) -> None:
    [job] = submit_jobs(max_attempts=2)
    for status in (JobStatus.QUEUED, JobStatus.FAILED):
        claim(database, [job.id])
        expire_lease(database, job.id)
        with database.write() as session:
            assert [requeued.status for requeued in job_transitions.requeue_expired(session)] == [status]
    failed = read(database, job.id)
    assert failed.error_type == ErrorType.ATTEMPTS_EXHAUSTED
    assert failed.error_message is not None
    assert "lease" in failed.error_message
    assert failed.finished_at is not None


def test_only_the_attempt_that_holds_the_lease_can_say_that_its_model_is_loading(
    database: Database, submit_jobs: SubmitJobs
) -> None:
    [job] = submit_jobs()
    [lost] = claim(database, [job.id])
    with database.write() as session:
        job_transitions.set_loading(session, [lost], loading=True)
        before = now(session)
    since = read(database, job.id).loading_since
    assert since is not None
    assert timedelta(0) <= before - since < timedelta(minutes=1)
    with database.write() as session:
        job_transitions.requeue(session, [lost], "the engine died")
    assert read(database, job.id).loading_since is None
    [held] = claim(database, [job.id], "b")
    with database.write() as session:
        job_transitions.set_loading(session, [lost], loading=True)
    assert read(database, job.id).loading_since is None
    with database.write() as session:
        job_transitions.set_loading(session, [held], loading=True)
        job_transitions.set_loading(session, [held], loading=False)
    assert read(database, job.id).loading_since is None


def test_an_attempt_that_is_given_back_does_not_count(database: Database, submit_jobs: SubmitJobs) -> None:
    [job] = submit_jobs(max_attempts=1)
    for _ in range(3):
        [held] = claim(database, [job.id])
        with database.write() as session:
            assert [given.job_id for given in job_transitions.give_back(session, [held])] == [job.id]
    assert read(database, job.id).status == JobStatus.QUEUED


def test_a_job_whose_cancellation_was_requested_is_not_run_again(database: Database, submit_jobs: SubmitJobs) -> None:
    given_back, lost = submit_jobs(2)
    claims = claim(database, [given_back.id, lost.id])
    with database.write() as session:
        assert job_transitions.request_cancel(session, given_back.id)
        assert job_transitions.request_cancel(session, lost.id)
        assert job_transitions.extend(session, claims, lease_seconds=30) == dict.fromkeys(claims, True)
        job_transitions.give_back(session, claims[:1])
    expire_lease(database, lost.id)
    with database.write() as session:
        job_transitions.requeue_expired(session)
    for job in (given_back, lost):
        cancelled = read(database, job.id)
        assert cancelled.status == JobStatus.CANCELLED
        assert cancelled.finished_at is not None


def test_cancelling_ends_a_queued_job_and_does_not_change_a_finished_one(
    database: Database, submit_jobs: SubmitJobs
) -> None:
    queued, finished = submit_jobs(2)
    [held] = claim(database, [finished.id])
    succeed(database, held, "page")
    with database.write() as session:
        assert job_transitions.request_cancel(session, queued.id)
        assert not job_transitions.request_cancel(session, finished.id)
    assert read(database, queued.id).status == JobStatus.CANCELLED
    assert read(database, finished.id).status == JobStatus.SUCCEEDED
    assert claim(database, [queued.id]) == []


class Life(RuleBasedStateMachine):
    """Claims, lost leases, repeated messages, cancellations and results in any order, by workers old and new."""

    database: Database
    submit_jobs: SubmitJobs

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[uuid.UUID] = []
        self.claims: list[Claim] = []
        self.results: dict[uuid.UUID, list[str]] = {}
        self.ended: dict[uuid.UUID, JobStatus] = {}
        self.attempts: dict[uuid.UUID, int] = {}

    def pick(self, number: int) -> uuid.UUID:
        return self.jobs[number % len(self.jobs)]

    def any_claim(self, number: int) -> Claim:
        return self.claims[number % len(self.claims)]

    @rule()
    def submit(self) -> None:
        [job] = self.submit_jobs(max_attempts=2)
        self.jobs.append(job.id)
        self.results[job.id] = []

    @precondition(lambda self: self.jobs)
    @rule(number=st.integers(0, 99))
    def deliver(self, number: int) -> None:
        self.claims += claim(self.database, [self.pick(number)])

    @precondition(lambda self: self.jobs)
    @rule(number=st.integers(0, 99))
    def request_cancel(self, number: int) -> None:
        with self.database.write() as session:
            job_transitions.request_cancel(session, self.pick(number))

    @precondition(lambda self: self.jobs)
    @rule(number=st.integers(0, 99))
    def lose_lease(self, number: int) -> None:
        if read(self.database, self.pick(number)).status == JobStatus.RUNNING:
            expire_lease(self.database, self.pick(number))

    @rule()
    def reconcile(self) -> None:
        with self.database.write() as session:
            job_transitions.requeue_expired(session)

    @precondition(lambda self: self.claims)
    @rule(number=st.integers(0, 99), loading=st.booleans())
    def load_model(self, number: int, loading: bool) -> None:
        with self.database.write() as session:
            job_transitions.set_loading(session, [self.any_claim(number)], loading=loading)

    @precondition(lambda self: self.claims)
    @rule(number=st.integers(0, 99))
    def heartbeat(self, number: int) -> None:
        with self.database.write() as session:
            job_transitions.extend(session, [self.any_claim(number)], lease_seconds=30)

    @precondition(lambda self: self.claims)
    @rule(number=st.integers(0, 99))
    def finish(self, number: int) -> None:
        held = self.any_claim(number)
        if succeed(self.database, held, f"attempt {held.attempt}"):
            self.results[held.job_id].append(f"attempt {held.attempt}")

    @precondition(lambda self: self.claims)
    @rule(number=st.integers(0, 99), end=st.sampled_from(["fail", "cancel", "give_back", "requeue"]))
    def end_without_result(self, number: int, end: str) -> None:
        held = [self.any_claim(number)]
        with self.database.write() as session:
            match end:
                case "fail":
                    job_transitions.fail(session, held, ErrorType.TIME_LIMIT, "too long")
                case "cancel":
                    job_transitions.cancel(session, held)
                case "give_back":
                    job_transitions.give_back(session, held)
                case "requeue":
                    job_transitions.requeue(session, held, "the engine died")

    @invariant()
    def results_are_single_and_ends_are_final(self) -> None:
        with self.database.read() as session:
            rows = [generations.get(session, job_id, owner=None) for job_id in self.jobs]
        for row in rows:
            assert row is not None
            job, results = row.job, self.results[row.job.id]
            assert len(results) == (1 if job.status == JobStatus.SUCCEEDED else 0)
            assert row.generation.completion == (results[0] if results else None)
            assert job.status == self.ended.get(job.id, job.status), "the status of a finished job changed"
            assert job.attempt >= self.attempts.get(job.id, 0), "the attempt, which is the fencing token, decreased"
            assert (job.finished_at is not None) == JobStatus(job.status).final
            assert (job.lease_expires_at is None) or job.status == JobStatus.RUNNING
            assert (job.loading_since is None) or job.status == JobStatus.RUNNING
            self.attempts[job.id] = job.attempt
            if JobStatus(job.status).final:
                self.ended[job.id] = job.status

    def teardown(self) -> None:
        """After any events, further messages and reconciling bring every job to an end."""
        for job_id in self.jobs:
            for _ in range(4):
                for held in claim(self.database, [job_id]):
                    if succeed(self.database, held, f"attempt {held.attempt}"):
                        self.results[job_id].append(f"attempt {held.attempt}")
                if read(self.database, job_id).status == JobStatus.RUNNING:
                    expire_lease(self.database, job_id)
                self.reconcile()
            assert JobStatus(read(self.database, job_id).status).final
        self.results_are_single_and_ends_are_final()


def test_every_succeeded_job_has_exactly_one_result_in_any_order_of_events(
    database: Database, submit_jobs: SubmitJobs
) -> None:
    class Bound(Life):
        pass

    Bound.database, Bound.submit_jobs = database, staticmethod(submit_jobs)
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
