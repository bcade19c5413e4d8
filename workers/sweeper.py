"""Deletes artifacts that nothing refers to: files of ended jobs and of failed uploads. Safe to run twice at once."""

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


def checkpoints_path(job_id: uuid.UUID) -> str:
    """Return the path of a job's checkpoints in the artifact store."""
    return f"{CHECKPOINTS}/{job_id}"


def result_model_path(job_id: uuid.UUID, attempt: int) -> str:
    """Return the path of an attempt's result model in the artifact store. Attempts never share a path."""
    return f"{MODELS}/{job_id}.{attempt}"


def sweep(database: Database, artifacts: ArtifactStore) -> None:
    """Delete the checkpoints and unregistered models of ended jobs, and the files of datasets that do not exist."""
    _sweep_datasets(database, artifacts)
    for path, job_id in _of_jobs(artifacts):
        _remove(database, artifacts, job_id, path)


def orphans(database: Database, artifacts: ArtifactStore, before: datetime) -> Iterator[str]:
    """Yield the paths of checkpoints and unregistered models of jobs that have ended or were deleted.

    Only jobs that were submitted before `before` count. The caller may delete each path as it is yielded.
    """
    for path, job_id in _of_jobs(artifacts):
        # A job id starts with the milliseconds of its submission. Artifacts of recent jobs are kept even if the job is
        # unknown: the database may have been restored from a backup.
        old = job_id.version == 7 and job_id.int >> 80 < before.timestamp() * 1000
        if old and _is_orphan(database, job_id, path, or_gone=True):
            yield path


def remove_checkpoints(database: Database, artifacts: ArtifactStore, job_id: uuid.UUID) -> None:
    """Delete the checkpoints of a job if it has ended. Otherwise another worker may resume from them."""
    _remove(database, artifacts, job_id, checkpoints_path(job_id))


def _of_jobs(artifacts: ArtifactStore) -> Iterator[tuple[str, uuid.UUID]]:
    for path in [*artifacts.list(CHECKPOINTS), *artifacts.list(MODELS)]:
        with suppress(ValueError):  # not an artifact of a job
            yield path, uuid.UUID(path.rsplit("/", 1)[-1].split(".")[0])


def _sweep_datasets(database: Database, artifacts: ArtifactStore) -> None:
    stored = {path.rsplit("/", 1)[-1] for path in artifacts.list(datasets.ARTIFACTS)}
    with database.read() as session:
        unused = stored - datasets.contents(session)
    for sha256 in unused:
        with database.write() as session:
            datasets.lock_content(session, sha256)  # waits for an upload that is about to register it
            if not datasets.any_has_content(session, sha256):
                artifacts.delete(datasets.artifact(sha256))


def _remove(database: Database, artifacts: ArtifactStore, job_id: uuid.UUID, path: str) -> None:
    if _is_orphan(database, job_id, path, or_gone=False):
        artifacts.delete(path)


def _is_orphan(database: Database, job_id: uuid.UUID, path: str, *, or_gone: bool) -> bool:
    """Whether the artifact is not a registered model and its job has ended, or with `or_gone` does not exist."""
    with database.read() as session:
        job = jobs.get(session, job_id, owner=None)
        registered = models.is_registered_at(session, path)
    ended = JobStatus(job.status).final if job else or_gone
    return ended and not registered
