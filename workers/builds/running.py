"""What the jobs of the builds queue have in common: one process each, and an end for every way it may go."""

import logging
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.orm import Session

from db.tables.models import Model
from db.vocabulary import ErrorType, JobKind
from models.loading.refs import ModelLoadError
from models.tasks.reports import Ended, Outcome
from pagewright.work_folders import work_folder
from workers import queue
from workers.builds.process import ProcessCrashed
from workers.leases import PATIENCE_SECONDS, Interrupt, Lease, about_jobs, outlast
from workers.runtime import Runtime
from workers.sweeper import model_of, remove_checkpoints

log = logging.getLogger(__name__)

Work = Callable[[Runtime, Lease, Path], Ended | None]
"""Does a claimed job in a folder. Returns how its process ended, None if it was interrupted. Raises ProcessCrashed."""

Register = Callable[[Session, str], Model | None]
"""Registers what a job made, given where it is in the artifact store; None if the name is taken."""

ROOM_BYTES = 100_000_000
"""What must be free on a build worker's disk for it to begin a job."""

_ERRORS = {
    Outcome.INVALID: ErrorType.INVALID_REQUEST,
    Outcome.MODEL_UNAVAILABLE: ErrorType.MODEL_UNAVAILABLE,
    Outcome.DIVERGED: ErrorType.DIVERGED,
    Outcome.OUT_OF_MEMORY: ErrorType.OUT_OF_MEMORY,
}


class NameTaken(Exception):
    """Another model has got the name in the meantime."""


def run_job(runtime: Runtime, kind: JobKind, job_id: uuid.UUID, work: Work, register: Register) -> None:
    """Claim the job if it is still queued, do the work, and bring the job to its end or back to the queue.

    The work leaves what it made in the folder `made`; it is stored, and registered in the transaction that ends the
    job. Nothing else of it stays.
    """
    leases = runtime.leases
    _await_room(runtime)
    if leases.draining:
        queue.publish(kind, [job_id])
        return
    claimed = leases.claim([job_id], runtime.settings.build_time_limit_seconds)
    if not claimed:
        return
    [lease] = claimed
    with about_jobs(claimed):
        _try(runtime, lease, work, register)


def _await_room(runtime: Runtime) -> None:
    """Begin no job on a full disk: each that waits would lose one attempt after the other there, within seconds."""
    folder = next(folder for folder in (runtime.work_folders, *runtime.work_folders.parents) if folder.is_dir())
    said = False
    while shutil.disk_usage(folder).free < ROOM_BYTES and not runtime.leases.draining:
        if not said:
            log.error("less than %d MB are free below %s: no job begins until they are", ROOM_BYTES // 10**6, folder)
            said = True
        time.sleep(1)


def _try(runtime: Runtime, lease: Lease, work: Work, register: Register) -> None:
    leases = runtime.leases
    try:
        with work_folder(runtime.work_folders) as folder:
            ended = work(runtime, lease, folder)
            if ended and ended.outcome == Outcome.DONE and _store(runtime, lease, folder / "made"):
                _succeed(runtime, lease, register)
            else:
                _end(runtime, lease, ended)
    except ModelLoadError as error:
        leases.fail([lease], ErrorType.MODEL_UNAVAILABLE, str(error))
    except ProcessCrashed as error:
        leases.requeue([lease], str(error))
    except Exception as error:
        # What the code above does not foresee must not strand the job until its lease runs out.
        log.exception("job %s failed in an unforeseen way", lease.job_id)
        if lease in leases.held():
            leases.requeue([lease], f"{type(error).__name__}: {error}")


def _store(runtime: Runtime, lease: Lease, made: Path) -> bool:
    """Store what a job made, as soon as the artifact store takes it. False if the job was interrupted before that."""
    path = model_of(lease.job_id, lease.claim.attempt)
    give_up = time.monotonic() + PATIENCE_SECONDS

    def hopeless() -> bool:
        return lease.interrupted is not None or time.monotonic() > give_up

    try:
        outlast((OSError,), lambda: runtime.artifacts.put_folder(made, path), "the result can't be stored", hopeless)
    except OSError:
        if lease.interrupted:
            return False
        raise
    return True


def _succeed(runtime: Runtime, lease: Lease, register: Register) -> None:
    path = model_of(lease.job_id, lease.claim.attempt)
    artifacts = runtime.artifacts

    def write(session: Session, _: set[uuid.UUID]) -> None:
        if register(session, path) is None:
            raise NameTaken

    try:
        runtime.leases.succeed([lease], write)
    except NameTaken:
        message = "name: another model was registered under this name while the job ran"
        runtime.leases.fail([lease], ErrorType.INVALID_REQUEST, message)
        artifacts.delete(path)
    remove_checkpoints(runtime.database, artifacts, lease.job_id)


def _end(runtime: Runtime, lease: Lease, ended: Ended | None) -> None:
    leases = runtime.leases
    if lease.interrupted == Interrupt.LEASE_LOST:
        leases.lose([lease])
        return
    if lease.interrupted == Interrupt.SHUTDOWN:
        leases.give_back([lease])
        return
    if lease.interrupted == Interrupt.CANCELLED:
        leases.cancel([lease], lambda *_: None)
    elif lease.interrupted == Interrupt.TIME_LIMIT:
        limit = runtime.settings.build_time_limit_seconds
        leases.fail([lease], ErrorType.TIME_LIMIT, f"not done {limit:g} seconds after its claim")
    else:
        assert ended is not None
        leases.fail([lease], _ERRORS[ended.outcome], ended.message)
    remove_checkpoints(runtime.database, runtime.artifacts, lease.job_id)
