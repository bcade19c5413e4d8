"""Removes from the artifact store what jobs that are over have left there. Running it twice at once does no harm."""

import uuid

from artifacts import ArtifactStore
from db import jobs, models
from db.session import Database
from db.vocabulary import JobStatus

CHECKPOINTS = "checkpoints"
MODELS = "models"


def checkpoints_of(job_id: uuid.UUID) -> str:
    """Where a job's checkpoints are in the artifact store."""
    return f"{CHECKPOINTS}/{job_id}"


def model_of(job_id: uuid.UUID, attempt: int) -> str:
    """Where an attempt at a job puts the model that it makes: its own place, so that a lost one spoils nothing."""
    return f"{MODELS}/{job_id}.{attempt}"


def sweep(database: Database, artifacts: ArtifactStore) -> None:
    """Remove what is left of every job that is over."""
    for path in [*artifacts.list(CHECKPOINTS), *artifacts.list(MODELS)]:
        try:
            job_id = uuid.UUID(path.rsplit("/", 1)[-1].split(".")[0])
        except ValueError:  # not ours
            continue
        _remove(database, artifacts, job_id, path)


def remove_checkpoints(database: Database, artifacts: ArtifactStore, job_id: uuid.UUID) -> None:
    """Delete the checkpoints of a job that is over. One that lives on, with another worker, goes on from them."""
    _remove(database, artifacts, job_id, checkpoints_of(job_id))


def _remove(database: Database, artifacts: ArtifactStore, job_id: uuid.UUID, path: str) -> None:
    with database.read() as session:
        job = jobs.get(session, job_id, owner=None)
        registered = models.is_at(session, path)
    if job and JobStatus(job.status).final and not registered:
        artifacts.delete(path)
