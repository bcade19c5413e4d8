"""Queries about jobs that leave their status alone; `db.job_transitions` has those that change it."""

import uuid
from collections.abc import Collection, Sequence
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db.pages import Page, fetch_page
from db.session import now
from db.tables.base import Table
from db.tables.jobs import IS_QUEUED, IS_RUNNING, Job
from db.vocabulary import JobKind, JobStatus


def add(session: Session, job: Job, request: Table) -> None:
    """Insert a job and its request, a row of the table for jobs of its kind."""
    session.add(job)
    session.flush()  # before the request, whose foreign key names the job
    session.add(request)
    session.flush()


def get(session: Session, job_id: uuid.UUID, *, owner: uuid.UUID | None) -> Job | None:
    """The job, if it is `owner`'s; None as owner means anybody's."""
    statement = select(Job).where(Job.id == job_id)
    if owner is not None:
        statement = statement.where(Job.api_key_id == owner)
    return session.scalars(statement).one_or_none()


def get_many(session: Session, job_ids: Collection[uuid.UUID]) -> Sequence[Job]:
    return session.scalars(select(Job).where(Job.id.in_(job_ids))).all()


def page(
    session: Session,
    *,
    owner: uuid.UUID | None,
    status: JobStatus | None,
    kind: JobKind | None,
    batch_id: uuid.UUID | None,
    limit: int,
    after: uuid.UUID | None,
) -> Page[Job]:
    statement = select(Job)
    if owner is not None:
        statement = statement.where(Job.api_key_id == owner)
    if status is not None:
        statement = statement.where(Job.status == status)
    if kind is not None:
        statement = statement.where(Job.kind == kind)
    if batch_id is not None:
        statement = statement.where(Job.batch_id == batch_id)
    return fetch_page(session, statement, Job.id, limit=limit, after=after)


def submitted_before(session: Session, api_key_id: uuid.UUID, idempotency_key: str) -> list[Job]:
    """The jobs that this key made with this Idempotency-Key, in order of submission; empty if there are none."""
    first = session.scalars(
        select(Job).where(Job.api_key_id == api_key_id, Job.idempotency_key == idempotency_key)
    ).one_or_none()
    if first is None:
        return []
    if first.batch_id is None:
        return [first]
    return list(session.scalars(select(Job).where(Job.batch_id == first.batch_id).order_by(Job.id)))


def queued_count(session: Session, *, api_key_id: uuid.UUID | None, at_most: int) -> int:
    """How many jobs are queued, counted no further than `at_most`; of one key, or of all with None."""
    queued = select(Job.api_key_id).where(IS_QUEUED)
    if api_key_id is not None:
        queued = queued.where(Job.api_key_id == api_key_id)
    return session.scalars(select(func.count()).select_from(queued.limit(at_most).subquery())).one()


def take_lost(
    session: Session, kind: JobKind, *, oldest_message: uuid.UUID | None, grace_seconds: float, limit: int = 1000
) -> list[uuid.UUID]:
    """Queued jobs that the queue no longer holds a message for, marked as published now: publish them.

    Queues are first in, first out, so a job published before the queue's oldest message has lost its own. With
    `oldest_message` None the queue is empty, and every queued job has. `grace_seconds` leaves a worker time between
    taking a message and claiming its jobs. A job found by mistake costs one message that is dropped.
    """
    moment = now(session)
    cutoff = moment
    if oldest_message is not None:
        cutoff = session.scalars(select(Job.published_at).where(Job.id == oldest_message)).one_or_none() or moment
    overdue = (
        select(Job.id)
        .where(Job.kind == kind, IS_QUEUED, Job.published_at < cutoff - timedelta(seconds=grace_seconds))
        .order_by(Job.published_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    statement = (
        update(Job)
        .where(Job.id.in_(session.scalars(overdue).all()))
        .values(published_at=moment)
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    return sorted(session.scalars(statement))


def batch_is_live(session: Session, batch_id: uuid.UUID) -> bool:
    """Whether a job of the batch is still queued or running."""
    live = select(Job.id).where(Job.batch_id == batch_id, IS_QUEUED | IS_RUNNING).limit(1)
    return session.scalars(live).first() is not None


def batch_counts(session: Session, batch_id: uuid.UUID, *, owner: uuid.UUID | None) -> dict[JobStatus, int]:
    """How many jobs of the batch have each status, if it is `owner`'s; empty if there is no such batch."""
    statement = select(Job.status, func.count()).where(Job.batch_id == batch_id).group_by(Job.status)
    if owner is not None:
        statement = statement.where(Job.api_key_id == owner)
    return {JobStatus(status): count for status, count in session.execute(statement)}
