"""Build jobs, without the process: disk space before the start, storing and registering the result."""

import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from db.queries import models
from db.queries.generations import GenerationRow
from db.tables.jobs import Job
from db.vocabulary import ErrorType, JobKind, JobStatus, ModelKind, QueueName
from models.tasks.errors import TaskError
from models.tasks.reports import Outcome
from models.tasks.specification import RESULT
from tests.databases import on_sqlite
from tests.processes import eventually
from workers import queue
from workers.builds import build as build_module
from workers.builds.build import Build, build_job
from workers.builds.result import ResultModel
from workers.leases import Interrupt
from workers.runtime import Runtime

pytestmark = on_sqlite

Read = Callable[[uuid.UUID], GenerationRow]


@pytest.fixture
def job_id(submit_jobs: Callable[..., list[Job]]) -> uuid.UUID:
    [job] = submit_jobs()
    return job.id


@build_job(JobKind.MERGE)
def write_weights(build: Build) -> ResultModel:
    (build.folder / RESULT).mkdir()
    (build.folder / RESULT / "weights").write_text(f"weights of attempt {build.lease.claim.attempt}")
    with build.runtime.database.read() as session:
        starter = models.by_name(session, ["starter"])["starter"].id
    return ResultModel("result", ModelKind.FULL, starter, dataset_id=None, template=None, parameters=None)


@build_job(JobKind.MERGE)
def fail(build: Build) -> ResultModel:
    raise TaskError("lower learning_rate", Outcome.DIVERGED)


def in_background(runtime: Runtime, job_id: uuid.UUID) -> threading.Thread:
    thread = threading.Thread(target=write_weights, args=[runtime, job_id])
    thread.start()
    return thread


def test_the_result_model_is_stored_and_registered_for_its_job(runtime: Runtime, job_id: uuid.UUID, read: Read) -> None:
    write_weights(runtime, job_id)
    assert read(job_id).job.status == JobStatus.SUCCEEDED
    with runtime.database.read() as session:
        model = models.get_by_name(session, "result")
    assert model is not None
    assert model.job_id == job_id
    assert b"".join(runtime.artifacts.read(f"{model.location}/weights")) == b"weights of attempt 1"
    assert list(runtime.work_folders.iterdir()) == []


def test_a_failed_task_fails_its_job_with_the_type_of_its_outcome(
    runtime: Runtime, job_id: uuid.UUID, read: Read
) -> None:
    fail(runtime, job_id)
    job = read(job_id).job
    assert (job.status, job.error_type, job.error_message) == (
        JobStatus.FAILED,
        ErrorType.DIVERGED,
        "lower learning_rate",
    )


def test_no_job_starts_while_the_worker_has_too_little_disk_space(
    runtime: Runtime, job_id: uuid.UUID, read: Read, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(build_module, "MIN_FREE_BYTES", 2**62)
    thread = in_background(runtime, job_id)
    eventually(lambda: "no job starts" in caplog.text, "a line in the log")
    assert (read(job_id).job.status, read(job_id).job.attempt) == (JobStatus.QUEUED, 0)
    monkeypatch.setattr(build_module, "MIN_FREE_BYTES", 0)
    thread.join()
    assert (read(job_id).job.status, read(job_id).job.attempt) == (JobStatus.SUCCEEDED, 1)


def test_a_draining_worker_stops_waiting_for_disk_space(
    runtime: Runtime, job_id: uuid.UUID, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "MIN_FREE_BYTES", 2**62)
    thread = in_background(runtime, job_id)
    runtime.drain()
    thread.join()
    assert (read(job_id).job.status, read(job_id).job.attempt) == (JobStatus.QUEUED, 0)
    assert queue.oldest_message(QueueName.BUILDS) == job_id


@pytest.fixture
def full_store(runtime: Runtime) -> Path:
    """A file that prevents the artifact store from storing models until it is removed."""
    obstacle = runtime.settings.data_dir / "artifacts" / "models"
    obstacle.parent.mkdir(parents=True, exist_ok=True)
    obstacle.touch()
    return obstacle


def test_storing_a_result_is_retried_until_the_artifact_store_works(
    runtime: Runtime, job_id: uuid.UUID, read: Read, full_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    thread = in_background(runtime, job_id)
    eventually(lambda: "the result can't be stored, retrying: Not a directory" in caplog.text, "a line in the log")
    assert read(job_id).job.status == JobStatus.RUNNING
    full_store.unlink()
    thread.join()
    assert (read(job_id).job.status, read(job_id).job.attempt) == (JobStatus.SUCCEEDED, 1)
    assert b"".join(runtime.artifacts.read(f"models/{job_id}.1/weights")) == b"weights of attempt 1"


@pytest.mark.usefixtures("full_store")
def test_a_job_whose_result_is_not_stored_yet_is_given_back_on_shutdown(
    runtime: Runtime, job_id: uuid.UUID, read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    thread = in_background(runtime, job_id)
    eventually(lambda: "the result can't be stored" in caplog.text, "a line in the log")
    runtime.leases.interrupt_all(Interrupt.SHUTDOWN)
    thread.join()
    job = read(job_id).job
    assert (job.status, job.max_attempts - job.attempt) == (JobStatus.QUEUED, 3)


@pytest.mark.usefixtures("full_store")
def test_an_attempt_is_lost_when_its_result_can_not_be_stored_in_time(
    runtime: Runtime, job_id: uuid.UUID, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "STORE_RETRY_SECONDS", 0.5)
    in_background(runtime, job_id).join()
    job = read(job_id).job
    assert (job.status, job.max_attempts - job.attempt) == (JobStatus.QUEUED, 2)
