"""Queries about jobs that do not change their status; `db.job_transitions` has those that do."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, func, literal_column, select, update
from sqlalchemy.orm import Session

from db.pages import Page, fetch_page
from db.queries import job_names
from db.queries.job_names import Named
from db.session import now
from db.tables.base import Table
from db.tables.jobs import IS_LIVE, IS_QUEUED, IS_RUNNING, Job
from db.vocabulary import JobKind, JobStatus, QueueName


@dataclass(frozen=True)
class LiveCount:
    """How many jobs of one kind have the status queued or running; `oldest_seconds` is the age of the oldest."""

    kind: JobKind
    status: JobStatus
    count: int
    oldest_seconds: float


@dataclass(frozen=True)
class Before:
    """How many jobs of a queue are queued before a job, and how many run."""

    queued: int
    running: int


def add(session: Session, job: Job, request: Table) -> None:
    """Insert a job and its request, a row of the table for jobs of its kind."""
    session.add(job)
    session.flush()  # before the request, whose foreign key names the job
    session.add(request)
    session.flush()


def get(session: Session, job_id: uuid.UUID, *, owner: uuid.UUID | None) -> Job | None:
    """Return the job, or None if there is no such job or it belongs to another API key than `owner`.

    With `owner` None the job may belong to any key.
    """
    statement = select(Job).where(Job.id == job_id)
    if owner is not None:
        statement = statement.where(Job.api_key_id == owner)
    return session.scalars(statement).one_or_none()


def get_many(session: Session, job_ids: Collection[uuid.UUID]) -> Sequence[Job]:
    """Return the jobs with these ids, in no particular order; ids of no job are left out."""
    return session.scalars(select(Job).where(Job.id.in_(job_ids))).all()


def page(
    session: Session,
    *,
    owner: uuid.UUID | None,
    status: JobStatus | None,
    kind: JobKind | None,
    batch_id: uuid.UUID | None,
    named: Named,
    limit: int,
    after: uuid.UUID | None,
) -> Page[Job]:
    """Return a page of jobs of every kind, newest first. The other arguments select jobs; None selects all."""
    wanted = ((Job.api_key_id, owner), (Job.status, status), (Job.kind, kind), (Job.batch_id, batch_id))
    conditions = [column == value for column, value in wanted if value is not None]
    statement = select(Job).where(*conditions)
    if named:
        latest = job_names.latest_ids(session, named, conditions, kind=kind, limit=limit + 1, after=after)
        statement = select(Job).where(Job.id.in_(latest))
    return fetch_page(session, statement, Job.id, limit=limit, after=after)


def submitted_before(session: Session, api_key_id: uuid.UUID, idempotency_key: str) -> list[Job]:
    """Return the jobs that this API key submitted with this Idempotency-Key, in order of submission.

    The list is empty if the key was not used before; it holds several jobs if the request was a batch.
    """
    first = session.scalars(
        select(Job).where(Job.api_key_id == api_key_id, Job.idempotency_key == idempotency_key)
    ).one_or_none()
    if first is None:
        return []
    if first.batch_id is None:
        return [first]
    return list(session.scalars(select(Job).where(Job.batch_id == first.batch_id).order_by(Job.id)))


def queued_count(session: Session, *, api_key_id: uuid.UUID | None, at_most: int) -> int:
    """Return how many jobs of an API key are queued, or of all keys with None. Counting stops at `at_most`."""
    queued = select(Job.api_key_id).where(IS_QUEUED)
    if api_key_id is not None:
        queued = queued.where(Job.api_key_id == api_key_id)
    return session.scalars(select(func.count()).select_from(queued.limit(at_most).subquery())).one()


def before(session: Session, job_id: uuid.UUID, name: QueueName, *, at_most: int) -> Before | None:
    """Return what is before a queued job in its queue, or None if the job is not queued. Each count stops at `at_most`.

    Messages are received in the order in which they were published.
    """
    published_at = session.scalars(select(Job.published_at).where(Job.id == job_id, IS_QUEUED)).one_or_none()
    if published_at is None:
        return None
    earlier = (Job.published_at < published_at) | (Job.id < job_id)
    return Before(
        queued=_count(session, name, IS_QUEUED & (Job.published_at <= published_at) & earlier, at_most),
        running=_count(session, name, IS_RUNNING, at_most),
    )


def loading_seconds(session: Session, job_id: uuid.UUID) -> float | None:
    """Return for how long a running job has waited for its model to be loaded, or None if it does not wait for that."""
    since = session.scalars(select(Job.loading_since).where(Job.id == job_id, IS_RUNNING)).one_or_none()
    return None if since is None else max(0.0, (now(session) - since).total_seconds())


def _count(session: Session, name: QueueName, condition: ColumnElement[bool], at_most: int) -> int:
    kinds = [kind for kind in JobKind if kind.queue == name]
    counted = select(Job.id).where(Job.kind.in_(kinds), condition).limit(at_most)
    return session.scalars(select(func.count()).select_from(counted.subquery())).one()


def take_lost(
    session: Session, kind: JobKind, *, oldest_message: uuid.UUID | None, grace_seconds: float, limit: int = 1000
) -> list[uuid.UUID]:
    """Find queued jobs whose message is lost, set their publication time to now, and return their ids in order.

    The caller publishes a message for each of them. A queue is first in, first out, so a job that was published before
    `oldest_message`, the job of the oldest message in the queue, has lost its own message. With None the queue is
    empty, and every queued job has lost its message. Jobs published in the last `grace_seconds` before that are left
    alone: a worker may have taken the message and not claimed the job yet. A message that is published by mistake does
    no harm: the worker that receives it finds nothing to claim.
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
    """Return whether any job of the batch is queued or running."""
    live = select(Job.id).where(Job.batch_id == batch_id, IS_LIVE).limit(1)
    return session.scalars(live).first() is not None


def batch_counts(session: Session, batch_id: uuid.UUID, *, owner: uuid.UUID | None) -> dict[JobStatus, int]:
    """Return how many jobs of a batch have each status.

    The result is empty if there is no such batch or it belongs to another API key than `owner`. With `owner` None the
    batch may belong to any key.
    """
    statement = select(Job.status, func.count()).where(Job.batch_id == batch_id).group_by(Job.status)
    if owner is not None:
        statement = statement.where(Job.api_key_id == owner)
    return {JobStatus(status): count for status, count in session.execute(statement)}


def live_counts(session: Session) -> Sequence[LiveCount]:
    """Return the number of queued and of running jobs of each kind; kinds without such jobs are left out."""
    moment = now(session)
    counts = []
    for status, condition in ((JobStatus.QUEUED, IS_QUEUED), (JobStatus.RUNNING, IS_RUNNING)):
        # grouped by an expression, or SQLite would use the index on `kind`, which holds finished jobs too
        kind = Job.kind.concat(literal_column("''"))
        statement = select(kind, func.count(), func.min(Job.created_at)).where(condition).group_by(kind)
        for name, count, first in session.execute(statement):
            counts.append(LiveCount(JobKind(name), status, count, max(0.0, (moment - first).total_seconds())))
    return counts
