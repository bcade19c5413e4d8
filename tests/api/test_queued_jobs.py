"""What the answer about a job says of its wait in the queue, and for its model."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from api import queued_jobs
from api.queued_jobs import LiveWorkers, QueuedJobs
from api.schemas.jobs import JobOut, job_fields
from db import job_transitions
from db.queries import jobs
from db.session import Database, now
from db.tables.jobs import Job
from db.vocabulary import JobKind, QueueName
from pagewright.cli.up.parts import free_port
from tests.api.conftest import Worker
from tests.api.helpers import submit, submit_batch
from tests.databases import on_sqlite
from tests.db.queries.test_lists import plans
from tests.processes import eventually
from workers import queue

NO_WORKER = "No live worker serves the queue `generation`. The job runs when one is started."
NEXT = "A worker of the queue `generation` will start the job shortly."


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs count as old at once, and the live workers are read for each answer."""
    monkeypatch.setattr(queued_jobs, "SHORT_WAIT", timedelta(0))
    monkeypatch.setattr(queued_jobs, "REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(queued_jobs, "ANSWER_SECONDS", 5.0)


def waiting_for(client: TestClient, job_id: object) -> str | None:
    of_any_kind, of_its_kind = (client.get(f"{path}/{job_id}").json() for path in ("/v1/jobs", "/v1/generations"))
    assert of_any_kind["waiting_for"] == of_its_kind["waiting_for"]
    reason: str | None = of_any_kind["waiting_for"]
    return reason


def test_a_job_whose_queue_has_no_live_worker_says_so(as_user: TestClient) -> None:
    queue.announce("a build worker", [QueueName.BUILDS])
    job = submit(as_user)
    assert waiting_for(as_user, job["id"]) == NO_WORKER


def test_a_job_that_redis_never_got_says_so(as_user: TestClient, redis_at: Callable[[int], None]) -> None:
    redis_at(free_port())
    reason = waiting_for(as_user, submit(as_user)["id"])
    assert reason is not None
    assert reason.startswith("Redis can't be reached. The job is kept")


def test_a_redis_that_hangs_delays_no_answer_again_and_again(
    as_user: TestClient, redis_at: Callable[[int], None], silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(as_user)
    reads: list[int] = []
    read = queue.live_workers

    def counted() -> dict[QueueName, int]:
        reads.append(1)
        return read()

    monkeypatch.setattr(queue, "live_workers", counted)
    monkeypatch.setattr(queued_jobs, "ANSWER_SECONDS", 0.1)
    redis_at(silent_port)
    for _ in range(5):
        assert str(waiting_for(as_user, job["id"])).startswith("Redis can't be reached")
    assert len(reads) == 1, "one read that hangs serves all answers meanwhile"


def test_a_job_names_the_earlier_ones_of_its_queue(as_user: TestClient, worker: Worker) -> None:
    queue.announce("a", list(QueueName))
    first, *others = submit_batch(as_user, 3)["job_ids"]
    last = submit(as_user)["id"]
    assert waiting_for(as_user, first) == NEXT
    assert waiting_for(as_user, others[0]) == "1 earlier job in the queue `generation`."
    assert waiting_for(as_user, last) == "3 earlier jobs in the queue `generation`."
    claims = worker.claim(first, *others)
    assert waiting_for(as_user, last) == "3 running jobs of the queue `generation`; this one is next."
    assert waiting_for(as_user, first) is None
    worker.succeed(claims)
    assert waiting_for(as_user, last) == NEXT
    worker.finish(last)
    assert waiting_for(as_user, last) is None


def test_many_earlier_jobs_are_not_counted_to_the_end(as_user: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.announce("a", list(QueueName))
    monkeypatch.setattr(queued_jobs, "COUNT_LIMIT", 5)
    ids = submit_batch(as_user, 9)["job_ids"]
    assert waiting_for(as_user, ids[5]) == "5 earlier jobs in the queue `generation`."
    assert waiting_for(as_user, ids[8]) == "More than 5 earlier jobs in the queue `generation`."


def test_jobs_of_one_queue_wait_for_each_other_whatever_their_kinds(
    submit_jobs: Callable[..., list[Job]], database: Database
) -> None:
    kinds = (JobKind.FINE_TUNE, JobKind.GENERATION, JobKind.MERGE, JobKind.QUANTIZATION)
    stored = submit_jobs(len(kinds))
    with database.write() as session:
        for job, kind in zip(stored, kinds, strict=True):
            session.execute(update(Job).where(Job.id == job.id).values(kind=kind))
    with database.read() as session:
        before = jobs.before(session, stored[-1].id, QueueName.BUILDS, at_most=10)
    assert before == jobs.Before(queued=2, running=0)


def test_a_job_that_was_sent_again_is_behind_those_sent_before(
    submit_jobs: Callable[..., list[Job]], database: Database
) -> None:
    first, second = submit_jobs(2)
    with database.write() as session:
        session.execute(update(Job).where(Job.id == first.id).values(published_at=now(session)))
        session.flush()
        ahead = jobs.before(session, second.id, QueueName.GENERATION, at_most=10)
        behind = jobs.before(session, first.id, QueueName.GENERATION, at_most=10)
    assert (ahead, behind) == (jobs.Before(0, 0), jobs.Before(1, 0))


@on_sqlite
def test_counting_reads_live_jobs_alone(database: Database, submit_jobs: Callable[..., list[Job]]) -> None:
    [job] = submit_jobs()
    steps = plans(database, lambda session: jobs.before(session, job.id, QueueName.BUILDS, at_most=10))
    of_live_jobs = ("ix_jobs_queued_", "ix_jobs_running_", "ix_jobs_status_id (status=?)", "jobs_1 (id=?)")
    reads = [step for step in steps if " jobs " in step]
    assert len(reads) == 3, steps
    assert all(any(index in step for index in of_live_jobs) for step in reads), steps


def test_a_job_whose_model_is_loading_says_so_and_for_how_long(
    as_user: TestClient, worker: Worker, database: Database
) -> None:
    job = submit(as_user)
    claims = worker.claim(job["id"])
    assert waiting_for(as_user, job["id"]) is None
    worker.set_loading(claims)
    with database.write() as session:
        session.execute(update(Job).values(loading_since=now(session) - timedelta(seconds=1234)))
    reason = waiting_for(as_user, job["id"])
    assert re.fullmatch(r"The model is loading, for 1,23[4-9] s so far\.", str(reason)), reason
    for path in ("/v1/jobs", "/v1/generations"):
        [item] = as_user.get(path).json()["items"]
        assert item["waiting_for"] == "The model is loading."
    cancelling = as_user.post(f"/v1/jobs/{job['id']}/cancel").json()
    assert cancelling["waiting_for"].startswith("The model is loading, for 1,23")
    worker.set_loading(claims, loading=False)
    assert waiting_for(as_user, job["id"]) is None


def test_an_answer_does_not_say_that_a_model_is_loading_that_was_loaded_meanwhile(
    as_user: TestClient, worker: Worker, database: Database
) -> None:
    claims = worker.claim(submit(as_user)["id"])
    worker.set_loading(claims)
    with database.read() as session:
        [read_before] = jobs.get_many(session, [claims[0].job_id])
    worker.succeed(claims)
    queued = QueuedJobs(database, LiveWorkers())
    assert queued.explain(JobOut(**job_fields(read_before))).waiting_for is None


def test_a_job_that_was_just_queued_and_lists_do_not_say_what_is_waited_for(
    as_user: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(as_user)
    for path in ("/v1/jobs", "/v1/generations"):
        [item] = as_user.get(path).json()["items"]
        assert item["waiting_for"] is None
    monkeypatch.setattr(queued_jobs, "SHORT_WAIT", timedelta(hours=1))
    assert waiting_for(as_user, job["id"]) is None


def test_the_wait_of_a_submit_ends_with_the_reason(as_user: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queued_jobs, "SHORT_WAIT", timedelta(seconds=0.9))
    request = {"model": "starter", "prompt": "Create a page."}
    waited = as_user.post("/v1/generations", json=request, headers={"Prefer": "wait=1"})
    assert (waited.status_code, waited.json()["waiting_for"]) == (202, NO_WORKER)


def test_polling_does_not_read_redis_each_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queued_jobs, "REFRESH_SECONDS", 60.0)
    workers = LiveWorkers()
    before = workers.get()
    queue.announce("a", [QueueName.BUILDS])
    assert workers.get() == before == dict.fromkeys(QueueName, 0)
    monkeypatch.setattr(queued_jobs, "REFRESH_SECONDS", 0.0)
    eventually(lambda: (workers.get() or {}).get(QueueName.BUILDS) == 1, "the new worker was seen")
    workers.close()


def test_a_running_job_never_shows_that_it_is_done(as_user: TestClient, worker: Worker, database: Database) -> None:
    [claim] = worker.claim(submit(as_user)["id"])
    with database.write() as session:
        job_transitions.progress(session, claim, percent_done=100.0, remaining_seconds=0.0)
    for path in ("/v1/jobs", "/v1/generations"):
        job = as_user.get(f"{path}/{claim.job_id}").json()
        assert (job["status"], job["percent_done"], job["remaining_seconds"]) == ("running", 99.9, None)
    worker.succeed([claim])
    job = as_user.get(f"/v1/jobs/{claim.job_id}").json()
    assert (job["percent_done"], job["remaining_seconds"]) == (100.0, 0.0)
