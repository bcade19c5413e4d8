"""Removes from the artifact store what jobs that are over, and uploads that failed, have left there.

Running it twice at once does no harm.
"""

import uuid

from artifacts import ArtifactStore
from db import datasets, jobs, models
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
    """Remove what is left of every job that is over, and the files of datasets that there are not."""
    _sweep_datasets(database, artifacts)
    for path in [*artifacts.list(CHECKPOINTS), *artifacts.list(MODELS)]:
        try:
            job_id = uuid.UUID(path.rsplit("/", 1)[-1].split(".")[0])
        except ValueError:  # not ours
            continue
        _remove(database, artifacts, job_id, path)


def remove_checkpoints(database: Database, artifacts: ArtifactStore, job_id: uuid.UUID) -> None:
    """Delete the checkpoints of a job that is over. One that lives on, with another worker, goes on from them."""
    _remove(database, artifacts, job_id, checkpoints_of(job_id))


def _sweep_datasets(database: Database, artifacts: ArtifactStore) -> None:
    found = {path.rsplit("/", 1)[-1] for path in artifacts.list(datasets.ARTIFACTS)}
    with database.read() as session:
        unnamed = found - datasets.contents(session)
    for sha256 in unnamed:
        with database.write() as session:
            datasets.hold_content(session, sha256)  # if it is about to be named, this waits, and finds it
            if not datasets.any_has_content(session, sha256):
                artifacts.delete(datasets.artifact(sha256))


def _remove(database: Database, artifacts: ArtifactStore, job_id: uuid.UUID, path: str) -> None:
    with database.read() as session:
        job = jobs.get(session, job_id, owner=None)
        registered = models.is_at(session, path)
    if job and JobStatus(job.status).final and not registered:
        artifacts.delete(path)
