"""Removes from the artifact store what jobs that are over have left there. Running it twice at once does no harm."""

import logging
import uuid

from artifacts import ArtifactStore
from db import jobs, models
from db.session import Database
from db.tables import JobStatus

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
MODELS = "models"


def checkpoints_of(job_id: uuid.UUID) -> str:
    """Where a job's checkpoints are in the artifact store."""
    return f"{CHECKPOINTS}/{job_id}"


def model_of(job_id: uuid.UUID, attempt: int) -> str:
    """Where an attempt at a job puts the model that it makes: its own place, so that a lost one spoils nothing."""
    return f"{MODELS}/{job_id}.{attempt}"


def sweep(database: Database, artifacts: ArtifactStore) -> None:
    """Delete the checkpoints of jobs that are over, and models of theirs that were never registered."""
    for path in [*artifacts.list(CHECKPOINTS), *artifacts.list(MODELS)]:
        try:
            job_id = uuid.UUID(path.rsplit("/", 1)[-1].split(".")[0])
        except ValueError:  # not ours
            continue
        with database.read() as session:
            job = jobs.get(session, job_id, owner=None)
            registered = models.is_at(session, path)
        if job and JobStatus(job.status).final and not registered:
            log.info("removing %s, which no job needs any more", path)
            artifacts.delete(path)
