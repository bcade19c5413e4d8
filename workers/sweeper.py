"""Removes from the artifact store what jobs that are over, and uploads that failed, have left there.

Running it twice at once does no harm.
"""

import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from db.queries import datasets, jobs, models
from db.session import Database
from db.vocabulary import JobStatus
from pagewright.artifacts import ArtifactStore

CHECKPOINTS = "checkpoints"
MODELS = "models"


def checkpoints_of(job_id: uuid.UUID) -> str:
    """Where a job's checkpoints are in the artifact store."""
    return f"{CHECKPOINTS}/{job_id}"


def model_of(job_id: uuid.UUID, attempt: int) -> str:
    """Where an attempt at a job puts the model that it makes: its own place, so that a lost one spoils nothing."""
    return f"{MODELS}/{job_id}.{attempt}"


def sweep(database: Database, artifacts: ArtifactStore) -> None:
    """Remove what is left of every job that is over, and the files of datasets that there are not."""
    _sweep_datasets(database, artifacts)
    for path, job_id in _of_jobs(artifacts):
        _remove(database, artifacts, job_id, path)


def orphans(database: Database, artifacts: ArtifactStore, before: datetime) -> Iterator[str]:
    """The paths of checkpoints and models of jobs that are over or gone, submitted before the moment; but for
    registered models. They may be deleted as they come."""
    for path, job_id in _of_jobs(artifacts):
        # its id begins with the milliseconds of its submission: a store that is ahead of its database, which was
        # restored, say, keeps what is new
        old = job_id.version == 7 and job_id.int >> 80 < before.timestamp() * 1000
        if old and _is_left(database, job_id, path, or_gone=True):
            yield path


def remove_checkpoints(database: Database, artifacts: ArtifactStore, job_id: uuid.UUID) -> None:
    """Delete the checkpoints of a job that is over. One that lives on, with another worker, goes on from them."""
    _remove(database, artifacts, job_id, checkpoints_of(job_id))


def _of_jobs(artifacts: ArtifactStore) -> Iterator[tuple[str, uuid.UUID]]:
    for path in [*artifacts.list(CHECKPOINTS), *artifacts.list(MODELS)]:
        with suppress(ValueError):  # not ours
            yield path, uuid.UUID(path.rsplit("/", 1)[-1].split(".")[0])


def _sweep_datasets(database: Database, artifacts: ArtifactStore) -> None:
    found = {path.rsplit("/", 1)[-1] for path in artifacts.list(datasets.ARTIFACTS)}
    with database.read() as session:
        unnamed = found - datasets.contents(session)
    for sha256 in unnamed:
        with database.write() as session:
            datasets.lock_content(session, sha256)  # if it is about to be named, this waits, and finds it
            if not datasets.any_has_content(session, sha256):
                artifacts.delete(datasets.artifact(sha256))


def _remove(database: Database, artifacts: ArtifactStore, job_id: uuid.UUID, path: str) -> None:
    if _is_left(database, job_id, path, or_gone=False):
        artifacts.delete(path)


def _is_left(database: Database, job_id: uuid.UUID, path: str, *, or_gone: bool) -> bool:
    """Whether the job is over, or, where that counts, not there, and the artifact is no registered model."""
    with database.read() as session:
        job = jobs.get(session, job_id, owner=None)
        registered = models.is_registered_at(session, path)
    over = JobStatus(job.status).final if job else or_gone
    return over and not registered
