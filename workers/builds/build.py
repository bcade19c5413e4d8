"""How a build job runs: work in a process, then store and register the result model.

Each kind of build is one function with the decorator `build_job`.
"""

import logging
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

from sqlalchemy.orm import Session

from db.queries import models, templates
from db.vocabulary import ErrorType, JobKind
from models.tasks.errors import TaskError
from models.tasks.reports import Outcome
from models.tasks.specification import RESULT, Task, write_specification
from pagewright.work_folders import work_folder
from workers.builds.model_card import write_model_card
from workers.builds.process import run_process
from workers.builds.recorder import Recorder
from workers.builds.result import ResultModel
from workers.jobs import AttemptFailed, RunJobs, end_on_error, job
from workers.leases import Lease
from workers.retrying import STORE_RETRY_SECONDS, retry
from workers.runtime import Runtime
from workers.sweeper import remove_checkpoints, result_model_path

log = logging.getLogger(__name__)

CHAT_TEMPLATE_FILE = "chat_template.jinja"
"""The file of a model's prompt template, as transformers names it."""

MIN_FREE_BYTES = 100_000_000
"""Disk space that must be free before a build worker starts a job."""


class BuildInterrupted(Exception):
    """The lease was interrupted before the result was stored."""


class NameTaken(Exception):
    """A model with the result model's name exists."""


@dataclass(frozen=True)
class Build:
    """A claimed build job, and the folder that its process works in."""

    runtime: Runtime
    lease: Lease
    folder: Path

    @property
    def job_id(self) -> uuid.UUID:
        return self.lease.job_id

    def run_process(self, task: Task, recorder: Recorder, *, devices: int = 1, grace_seconds: float = 0.0) -> None:
        """Run the task in a process until it is done. See `workers.builds.process.run_process`.

        Raises TaskError, BuildInterrupted and ProcessCrashed.
        """
        specification = write_specification(task)
        ended = run_process(specification, self.lease, recorder.receive, devices=devices, grace_seconds=grace_seconds)
        if ended and ended.outcome == Outcome.DONE:
            return
        if ended is None or self.lease.interrupted:
            raise BuildInterrupted
        if ended.outcome == Outcome.HUB_UNREACHABLE:
            raise AttemptFailed(ended.message)
        raise TaskError(ended.message, ended.outcome)


def build_job(kind: JobKind) -> Callable[[Callable[[Build], ResultModel]], RunJobs]:
    """Make a function the Celery task for a kind of build.

    The function writes the files of the result model to the folder `result` in the build's folder, by means of
    `Build.run_process`, and returns how to register the model. The files are then stored with a model card, and the
    model is registered in the transaction that ends the job.
    """

    def decorate(make: Callable[[Build], ResultModel]) -> RunJobs:
        @job(kind, before_claim=_wait_for_disk_space)
        @wraps(make)
        def run(runtime: Runtime, leases: list[Lease]) -> None:
            [lease] = leases
            with work_folder(runtime.work_folders) as folder, end_on_error(runtime.leases, leases):
                _run(Build(runtime, lease, folder), make)
            remove_checkpoints(runtime.database, runtime.artifacts, lease.job_id)

        return run

    return decorate


def _wait_for_disk_space(runtime: Runtime) -> None:
    """Start no job on a full disk: each one would fail all its attempts within seconds."""
    folder = next(folder for folder in (runtime.work_folders, *runtime.work_folders.parents) if folder.is_dir())
    logged = False
    while shutil.disk_usage(folder).free < MIN_FREE_BYTES and not runtime.leases.draining:
        if not logged:
            log.error(
                "less than %d MB are free in %s: no job starts until more is free", MIN_FREE_BYTES // 10**6, folder
            )
            logged = True
        time.sleep(1)


def _run(build: Build, make: Callable[[Build], ResultModel]) -> None:
    leases = build.runtime.leases
    try:
        result = make(build)
        with build.runtime.database.read() as session:
            write_model_card(session, result, build.folder / RESULT)
        _store(build)
    except BuildInterrupted:
        leases.finish([build.lease], build.lease.interrupted)
    else:
        _register(build, result)


def _store(build: Build) -> None:
    """Store the result model, and retry while the artifact store is down. Raises BuildInterrupted."""
    path = result_model_path(build.job_id, build.lease.claim.attempt)
    deadline = time.monotonic() + STORE_RETRY_SECONDS

    def should_stop() -> bool:
        return build.lease.interrupted is not None or time.monotonic() > deadline

    try:
        retry(
            lambda: build.runtime.artifacts.put_folder(build.folder / RESULT, path),
            (OSError,),
            "the result can't be stored",
            should_stop,
        )
    except OSError as error:
        if build.lease.interrupted:
            raise BuildInterrupted from error
        raise


def _register(build: Build, result: ResultModel) -> None:
    path = result_model_path(build.job_id, build.lease.claim.attempt)

    template = build.folder / RESULT / CHAT_TEMPLATE_FILE
    text = template.read_text(encoding="utf-8") if template.exists() else None

    def write(session: Session, _: set[uuid.UUID]) -> None:
        sha256 = templates.store(session, text) if text else None
        columns = {name: value for name, value in vars(result).items() if name != "scores"}
        added = models.add_result_model(session, **columns, template_sha256=sha256, location=path, job_id=build.job_id)
        if added is None:
            raise NameTaken

    try:
        build.runtime.leases.finish([build.lease], None, write)
    except NameTaken:
        message = f"name: a model named {result.name} was registered while the job ran"
        build.runtime.leases.fail([build.lease], ErrorType.INVALID_REQUEST, message)
        build.runtime.artifacts.delete(path)
