"""Queries about pulls: jobs that download the files of a hub model."""

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.pages import Page, fetch_page
from db.tables.jobs import Job
from db.tables.models import Model
from db.tables.pulls import Pull
from db.vocabulary import JobStatus


@dataclass(frozen=True)
class PullRow:
    """A job, its request, and the model that the request names."""

    job: Job
    request: Pull
    model: Model


def get(session: Session, job_id: uuid.UUID, *, owner: uuid.UUID | None) -> PullRow | None:
    """Return the pull, or None if there is no such pull or it belongs to another API key than `owner`.

    With `owner` None the job may belong to any key.
    """
    row = session.execute(_rows(owner).where(Pull.job_id == job_id)).one_or_none()
    return None if row is None else PullRow(*row)


def page(
    session: Session, *, owner: uuid.UUID | None, status: JobStatus | None, limit: int, after: uuid.UUID | None
) -> Page[PullRow]:
    """Return a page of pulls, newest first. `owner` and `status` select jobs; None selects all."""
    statement = _rows(owner)
    if status is not None:
        statement = statement.where(Job.status == status)
    return fetch_page(session, statement, Job.id, limit=limit, after=after).map(lambda row: PullRow(*row))


def set_bytes(session: Session, job_id: uuid.UUID, *, done: int, total: int) -> None:
    """Store how many bytes of the files are downloaded, of how many."""
    session.execute(update(Pull).where(Pull.job_id == job_id).values(bytes_done=done, bytes_total=total))


def _rows(owner: uuid.UUID | None) -> Any:
    statement = select(Job, Pull, Model).join(Pull, Pull.job_id == Job.id).join(Model, Model.id == Pull.model_id)
    return statement if owner is None else statement.where(Job.api_key_id == owner)
