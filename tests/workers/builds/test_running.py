"""Training jobs whose disk or artifact store is full: they wait, and lose nothing."""

import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from db.queries import models
from db.queries.generations import GenerationRow
from db.tables.jobs import Job
from db.tables.models import Model
from db.vocabulary import JobKind, JobStatus, QueueName
from models.tasks.reports import Ended, Outcome
from tests.databases import on_sqlite
from tests.processes import eventually
from workers import queue
from workers.builds import running
from workers.leases import Interrupt, Lease
from workers.runtime import Runtime

pytestmark = on_sqlite

Read = Callable[[uuid.UUID], GenerationRow]


@pytest.fixture
def job_id(submit_jobs: Callable[..., list[Job]]) -> uuid.UUID:
    [job] = submit_jobs()
    return job.id


def make_a_file(runtime: Runtime, lease: Lease, folder: Path) -> Ended:
    (folder / "made").mkdir()
    (folder / "made" / "weights").write_text(f"made by attempt {lease.claim.attempt}")
    return Ended(Outcome.DONE)


def register_nothing_new(session: Session, path: str) -> Model | None:
    return models.get_by_name(session, "starter")


def in_background(runtime: Runtime, job_id: uuid.UUID) -> threading.Thread:
    arguments = [runtime, JobKind.FINE_TUNE, job_id, make_a_file, register_nothing_new]
    thread = threading.Thread(target=running.run_job, args=arguments)
    thread.start()
    return thread


def test_no_job_begins_until_its_worker_has_room(
    runtime: Runtime, job_id: uuid.UUID, read: Read, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(running, "ROOM_BYTES", 2**62)
    working = in_background(runtime, job_id)
    eventually(lambda: "no job begins" in caplog.text, "a line in the log")
    assert (read(job_id).job.status, read(job_id).job.attempt) == (JobStatus.QUEUED, 0)
    monkeypatch.setattr(running, "ROOM_BYTES", 0)
    working.join()
    assert (read(job_id).job.status, read(job_id).job.attempt) == (JobStatus.SUCCEEDED, 1)


def test_a_worker_told_to_stop_waits_for_room_no_longer(
    runtime: Runtime, job_id: uuid.UUID, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "ROOM_BYTES", 2**62)
    working = in_background(runtime, job_id)
    runtime.drain()
    working.join()
    assert (read(job_id).job.status, read(job_id).job.attempt) == (JobStatus.QUEUED, 0)
    assert queue.oldest_message(QueueName.BUILDS) == job_id


@pytest.fixture
def full_store(runtime: Runtime) -> Path:
    """What is in the way of every artifact of a model, until it is removed."""
    in_the_way = runtime.settings.data_dir / "artifacts" / "models"
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.touch()
    return in_the_way


def test_a_result_waits_for_a_store_that_takes_it(
    runtime: Runtime, job_id: uuid.UUID, read: Read, full_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    working = in_background(runtime, job_id)
    eventually(lambda: "the result can't be stored, trying again: Not a directory" in caplog.text, "a line in the log")
    assert read(job_id).job.status == JobStatus.RUNNING
    full_store.unlink()
    working.join()
    assert (read(job_id).job.status, read(job_id).job.attempt) == (JobStatus.SUCCEEDED, 1)
    assert b"".join(runtime.artifacts.read(f"models/{job_id}.1/weights")) == b"made by attempt 1"


@pytest.mark.usefixtures("full_store")
def test_a_worker_told_to_stop_gives_a_job_back_whose_result_waits(
    runtime: Runtime, job_id: uuid.UUID, read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    working = in_background(runtime, job_id)
    eventually(lambda: "the result can't be stored" in caplog.text, "a line in the log")
    runtime.leases.interrupt_all(Interrupt.SHUTDOWN)
    working.join()
    job = read(job_id).job
    assert (job.status, job.max_attempts - job.attempt) == (JobStatus.QUEUED, 3)


@pytest.mark.usefixtures("full_store")
def test_a_result_that_waits_too_long_costs_an_attempt(
    runtime: Runtime, job_id: uuid.UUID, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "PATIENCE_SECONDS", 0.5)
    in_background(runtime, job_id).join()
    job = read(job_id).job
    assert (job.status, job.max_attempts - job.attempt) == (JobStatus.QUEUED, 2)
