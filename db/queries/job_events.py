"""Queries about the events of jobs."""

import uuid
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.session import now
from db.tables.jobs import JobEvent


def add(session: Session, job_id: uuid.UUID, attempt: int, type: str, message: str) -> None:
    """Store an event, unless the same attempt has one with the same type and message."""
    same = (JobEvent.job_id == job_id, JobEvent.attempt == attempt, JobEvent.type == type, JobEvent.message == message)
    if session.scalars(select(JobEvent.id).where(*same).limit(1)).first():
        return
    session.add(JobEvent(job_id=job_id, attempt=attempt, type=type, message=message, created_at=now(session)))


def of_job(session: Session, job_id: uuid.UUID, *, after: uuid.UUID | None = None) -> Sequence[JobEvent]:
    """Return the events of a job in the order in which they happened, or only those after the event `after`."""
    statement = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.id)
    if after is not None:
        statement = statement.where(JobEvent.id > after)
    return session.scalars(statement).all()
