"""Worker processes that are stopped, killed or lose Redis: no accepted job is lost."""

import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

import migrations
from db import job_transitions
from db.queries import models
from db.queries.evaluations import EvaluationRow
from db.queries.generations import GenerationRow
from db.session import Database
from db.tables.jobs import Job
from db.tables.models import Model
from db.vocabulary import JobKind, JobStatus, QueueName
from pagewright.cli.up.parts import free_port
from tests.databases import on_postgresql, on_sqlite
from tests.processes import eventually, running, start_redis
from tests.workers.conftest import FAST
from workers import queue
from workers.celery_app import app
from workers.redis_keys import default_prefix
from workers.roles import WorkerRole

SubmitJobs = Callable[..., list[Job]]
Read = Callable[[uuid.UUID], GenerationRow]
AllAre = Callable[[Sequence[Job], JobStatus], bool]

# At this temperature a completion runs to its token limit, long enough to be interrupted.
LONG = {"temperature": 50.0, "seed": 7, "max_new_tokens": 900}


@pytest.fixture
def worker(database: Database) -> Iterator[subprocess.Popen[str]]:
    with one_worker() as process:
        yield process


@contextmanager
def one_worker() -> Iterator[subprocess.Popen[str]]:
    """A worker process that receives messages."""
    before = queue.live_workers()[QueueName.GENERATION]
    with running("worker", **FAST) as process:
        eventually(lambda: queue.live_workers()[QueueName.GENERATION] > before, "a live worker")
        yield process


def publish(jobs: Sequence[Job]) -> None:
    assert queue.publish(JobKind.GENERATION, [job.id for job in jobs])


@pytest.fixture
def long_jobs(submit_jobs: SubmitJobs, change: Callable[..., None]) -> list[Job]:
    jobs = submit_jobs(2)
    for job in jobs:
        change(job.id, **LONG)
    return jobs


@pytest.mark.usefixtures("worker")
def test_a_message_delivered_twice_gives_one_result_and_a_lost_one_is_sent_again(
    submit_jobs: SubmitJobs, read: Read, redis: Redis, all_are: AllAre
) -> None:
    [twice] = submit_jobs()
    publish([twice, twice])
    publish([twice])
    eventually(lambda: all_are([twice], JobStatus.SUCCEEDED), "the result of a job")
    assert read(twice.id).job.attempt == 1

    lost = submit_jobs(3)
    publish(lost)
    redis.flushall()
    eventually(lambda: all_are(lost, JobStatus.SUCCEEDED), "the results of jobs whose messages were lost")


def test_messages_of_other_programs_do_not_end_a_worker(
    worker: subprocess.Popen[str], submit_jobs: SubmitJobs, redis: Redis, all_are: AllAre
) -> None:
    foreign = [b"hello", b"1", b'{"a": 1}']
    redis.rpush("test:generation", *foreign)
    jobs = submit_jobs(1)
    publish(jobs)
    eventually(lambda: all_are(jobs, JobStatus.SUCCEEDED), "the result of a job after foreign messages")
    assert sorted(redis.lrange("test:foreign", 0, -1)) == sorted(foreign)
    assert worker.poll() is None


@on_postgresql
def test_a_worker_loads_the_models_of_its_settings_before_any_job(database: Database, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def starter() -> Model:
        with database.read() as session:
            model = models.get_by_name(session, "starter")
        assert model is not None
        return model

    assert starter().engine is None
    with running("worker", **FAST, preload=" nobody, starter,", log=log) as worker:
        eventually(lambda: starter().engine, "the loaded model's engine")
        assert worker.poll() is None
    assert "nobody is not preloaded" in log.read_text()


@on_sqlite
def test_a_worker_serves_its_own_installation_alone(submit_jobs: SubmitJobs, redis: Redis, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path / 'other.sqlite3'}"
    migrations.upgrade(other)
    workers = f"{default_prefix(Database(other))}workers:generation"
    with running("worker", **FAST, database_url=other, redis_prefix=""):
        eventually(lambda: redis.zcard(workers), "a live worker of the other installation")
        publish(submit_jobs(1))
        time.sleep(1)
        assert redis.llen("test:generation") == 1, "the message is still there"
        assert queue.live_workers()[QueueName.GENERATION] == 0


@on_postgresql
@pytest.mark.usefixtures("worker")
def test_cancelling_a_running_job_stops_it_and_keeps_the_text_so_far(
    long_jobs: list[Job], read: Read, database: Database, all_are: AllAre
) -> None:
    publish(long_jobs)
    eventually(lambda: all_are(long_jobs, JobStatus.RUNNING), "running jobs")
    with database.write() as session:
        for job in long_jobs:
            job_transitions.request_cancel(session, job.id)
    eventually(lambda: all_are(long_jobs, JobStatus.CANCELLED), "the cancelled jobs' end")
    for job in long_jobs:
        generation = read(job.id).generation
        assert generation.finish_reason == "cancelled"
        assert generation.completion_tokens is not None
        assert generation.completion_tokens < LONG["max_new_tokens"]


@on_postgresql
def test_stopping_a_worker_gives_its_jobs_back_and_killing_it_costs_an_attempt(
    worker: subprocess.Popen[str], long_jobs: list[Job], read: Read, all_are: AllAre
) -> None:
    publish(long_jobs)
    eventually(lambda: all_are(long_jobs, JobStatus.RUNNING), "running jobs")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    for job in (read(job.id).job for job in long_jobs):
        assert job.status == JobStatus.QUEUED
        assert job.max_attempts - job.attempt == 3, "an attempt that was given back must not count"
    assert queue.live_workers()[QueueName.GENERATION] == 0

    with one_worker() as doomed:
        eventually(lambda: all_are(long_jobs, JobStatus.RUNNING), "the jobs on a second worker")
        doomed.kill()
    with running("worker", **FAST):
        eventually(lambda: all_are(long_jobs, JobStatus.SUCCEEDED), "the results of a killed worker's jobs")
    for job in (read(job.id).job for job in long_jobs):
        assert (job.attempt, job.max_attempts) == (3, 4), "only the attempt of the killed worker counts"


@on_postgresql
def test_a_worker_suspended_past_its_lease_changes_nothing(
    worker: subprocess.Popen[str], long_jobs: list[Job], read: Read, all_are: AllAre
) -> None:
    publish(long_jobs)
    eventually(lambda: all_are(long_jobs, JobStatus.RUNNING), "running jobs")
    worker.send_signal(signal.SIGSTOP)
    with one_worker():
        eventually(lambda: all_are(long_jobs, JobStatus.SUCCEEDED), "the results of a second worker")
        finished = [read(job.id) for job in long_jobs]
        worker.send_signal(signal.SIGCONT)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait() == 0
    for before in finished:
        after = read(before.job.id)
        assert (after.job.attempt, after.job.finished_at) == (2, before.job.finished_at)
        assert after.generation.completion == before.generation.completion


def leave_one_message_unacknowledged(redis_url: str) -> None:
    """A message with a countdown is not acknowledged yet, as one whose acknowledgement Redis did not receive."""
    with app.connection_for_write(redis_url) as connection:
        app.send_task(
            JobKind.GENERATION,
            args=[[]],
            queue=QueueName.GENERATION.value,
            headers={"job_id": str(uuid.uuid4())},
            countdown=600,
            connection=connection,
        )
    eventually(lambda: Redis.from_url(redis_url).hlen("test:unacked") == 1, "a message that is not acknowledged")


@on_postgresql
def test_a_worker_survives_a_redis_that_dies_and_restarts_empty(
    database: Database, submit_jobs: SubmitJobs, all_are: AllAre
) -> None:
    """The test publishes nothing: the worker\'s reconciler finds the jobs."""
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    first = start_redis(port)
    try:
        with running("worker", **FAST, redis_url=url) as worker:
            before = submit_jobs(2)
            eventually(lambda: all_are(before, JobStatus.SUCCEEDED), "results before the outage")
            leave_one_message_unacknowledged(url)
            first.kill()
            first.wait()
            after = submit_jobs(2)
            first = start_redis(port)
            eventually(lambda: all_are(after, JobStatus.SUCCEEDED), "results after the outage")
            worker.send_signal(signal.SIGTERM)
            assert worker.wait() == 0
    finally:
        first.kill()
        first.wait()


LIST_TASKS = """
import sys
from workers.main import import_tasks
from workers.celery_app import app
from workers.roles import WorkerRole
import_tasks(sys.argv[1])
print(*(name for name in app.tasks if not name.startswith("celery.")), "torch" in sys.modules)
"""


@pytest.mark.parametrize("role", WorkerRole)
def test_a_worker_has_a_task_for_each_kind_of_job_on_its_queues_and_a_build_worker_loads_no_torch(
    role: WorkerRole,
) -> None:
    output = subprocess.check_output([sys.executable, "-c", LIST_TASKS, role], text=True)
    *tasks, loads_torch = output.split()
    assert set(tasks) == {kind for kind in JobKind if kind.queue in role.queues}
    assert role == WorkerRole.INFERENCE or loads_torch == "False"


@on_postgresql
def test_evaluations_over_the_limit_stay_in_their_queue_and_generations_overtake_them(
    submit_evaluation: Callable[..., uuid.UUID],
    read_evaluation: Callable[[uuid.UUID], EvaluationRow],
    submit_jobs: SubmitJobs,
    all_are: AllAre,
) -> None:
    waiting = [submit_evaluation(count=100, metrics=["exact_match"]) for _ in range(4)]

    def statuses() -> list[str]:
        return [read_evaluation(job).job.status for job in waiting]

    def over() -> bool:
        now = statuses()
        assert now.count(JobStatus.RUNNING) <= 1
        return now == [JobStatus.SUCCEEDED] * 4

    with running("worker", **FAST, evaluation_concurrency=1):
        assert queue.publish(JobKind.EVALUATION, waiting)
        eventually(lambda: JobStatus.RUNNING in statuses(), "a running evaluation")
        jobs = submit_jobs(3)
        publish(jobs)
        eventually(lambda: all_are(jobs, JobStatus.SUCCEEDED), "the generations' results")
        assert JobStatus.QUEUED in statuses(), "the generations overtook evaluations"
        eventually(over, "the end of all evaluations")
    assert [read_evaluation(job).job.attempt for job in waiting] == [1] * 4
