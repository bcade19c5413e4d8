"""Every change of a job's status, each one conditional statement: nothing else in the project writes `jobs.status`.

    queued -> running -> succeeded | failed | cancelled
    running -> queued when a worker is lost or gives the job back
    queued -> cancelled

A worker proves its right to write with the attempt that it claimed. What it may no longer change it is told by
absence: each function returns the jobs that it did change.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import ColumnElement, case, select, tuple_, update
from sqlalchemy.orm import Session

from db.session import now
from db.tables.jobs import IS_QUEUED, IS_RUNNING, Job
from db.vocabulary import ErrorType, JobKind, JobStatus


@dataclass(frozen=True)
class Claim:
    """The right to work on a job until the lease ends: the job and the attempt to name in every later write.

    The other fields are known of a job that was claimed just now: its kind, and how many seconds it waited from its
    submission to its first claim, if this is that.
    """

    job_id: uuid.UUID
    attempt: int
    kind: JobKind | None = field(default=None, compare=False)
    waited_seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Requeued:
    """A job that was taken from its worker; `status` is queued, or final where no attempt was left."""

    job_id: uuid.UUID
    kind: JobKind
    status: JobStatus
    attempt: int
    """The one that was lost."""


def claim(session: Session, job_ids: Collection[uuid.UUID], *, worker: str, lease_seconds: float) -> list[Claim]:
    """Take those of the jobs that are queued; the others are somebody else's already, or over."""
    moment = now(session)
    rows = session.execute(
        update(Job)
        # concatenated, so that it matches no partial index: right after a big batch the statistics say that hardly
        # any job is queued, and PostgreSQL would look through all of them for these few
        .where(Job.id.in_(job_ids), Job.status.concat("") == JobStatus.QUEUED)
        .values(
            status=JobStatus.RUNNING,
            attempt=Job.attempt + 1,
            lease_expires_at=moment + timedelta(seconds=lease_seconds),
            worker=worker,
            started_at=moment,
        )
        .returning(Job.id, Job.attempt, Job.kind, Job.created_at)
        .execution_options(synchronize_session=False)
    )
    claims = [
        Claim(job_id, attempt, JobKind(kind), (moment - created_at).total_seconds() if attempt == 1 else None)
        for job_id, attempt, kind, created_at in rows
    ]
    return sorted(claims, key=lambda claim: claim.job_id)


def extend(session: Session, claims: Collection[Claim], *, lease_seconds: float) -> dict[Claim, bool]:
    """Extend the leases still held. Each held claim maps to whether its job was asked to cancel."""
    rows = session.execute(
        update(Job)
        .where(_held(claims))
        .values(lease_expires_at=now(session) + timedelta(seconds=lease_seconds))
        .returning(Job.id, Job.attempt, Job.cancel_requested)
        .execution_options(synchronize_session=False)
    )
    return {Claim(job_id, attempt): cancel for job_id, attempt, cancel in rows}


def progress(session: Session, claim: Claim, percent_done: float | None, remaining_seconds: float | None) -> bool:
    """Note how far a running job is. False if the claim no longer holds: write nothing else then."""
    changed = _update(session, _held([claim]), percent_done=percent_done, remaining_seconds=remaining_seconds)
    return bool(changed)


def succeed(session: Session, claims: Collection[Claim]) -> set[uuid.UUID]:
    return _end(session, claims, JobStatus.SUCCEEDED)


def cancel(session: Session, claims: Collection[Claim]) -> set[uuid.UUID]:
    """End running jobs that were asked to cancel."""
    return _end(session, claims, JobStatus.CANCELLED)


def fail(session: Session, claims: Collection[Claim], error_type: ErrorType, message: str) -> set[uuid.UUID]:
    return _end(session, claims, JobStatus.FAILED, error_type=error_type, error_message=message)


def give_back(session: Session, claims: Collection[Claim]) -> list[Requeued]:
    """Queue the jobs of a worker that was told to stop. The attempt is not held against them: they get one more."""
    return _take_back(
        session,
        _held(claims),
        status=case((Job.cancel_requested, JobStatus.CANCELLED), else_=JobStatus.QUEUED),
        finished_at=case((Job.cancel_requested, now(session)), else_=None),
        max_attempts=Job.max_attempts + 1,
    )


def request_cancel(session: Session, job_id: uuid.UUID) -> JobStatus | None:
    """Cancel a queued job at once, ask a running one to stop. Returns what it is now; None if it was over already."""
    statement = (
        update(Job)
        .where(Job.id == job_id, IS_QUEUED | IS_RUNNING)
        .values(
            status=case((IS_QUEUED, JobStatus.CANCELLED), else_=Job.status),
            finished_at=case((IS_QUEUED, now(session)), else_=None),
            cancel_requested=True,
        )
        .returning(Job.status)
    )
    status = session.scalars(statement.execution_options(synchronize_session=False)).one_or_none()
    return None if status is None else JobStatus(status)


def requeue(session: Session, claims: Collection[Claim], reason: str) -> list[Requeued]:
    """Queue again the jobs of an attempt that was lost while its worker lives on (its engine died, say)."""
    return _requeue(session, _held(claims), reason)


def requeue_expired(session: Session, *, limit: int = 1000) -> list[Requeued]:
    """Queue again the jobs whose worker fell silent; without attempts left, fail them."""
    expired = (
        select(Job.id)
        .where(IS_RUNNING, Job.lease_expires_at < now(session))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    condition = Job.id.in_(session.scalars(expired).all()) & IS_RUNNING
    return _requeue(session, condition, "the worker stopped extending its lease")


def _requeue(session: Session, condition: ColumnElement[bool], reason: str) -> list[Requeued]:
    exhausted = Job.attempt >= Job.max_attempts
    status = case((Job.cancel_requested, JobStatus.CANCELLED), (exhausted, JobStatus.FAILED), else_=JobStatus.QUEUED)
    failed = exhausted & ~Job.cancel_requested
    return _take_back(
        session,
        condition,
        status=status,
        error_type=case((failed, ErrorType.ATTEMPTS_EXHAUSTED), else_=None),
        error_message=case((failed, f"no attempt is left; the last one was lost: {reason}"), else_=None),
        finished_at=case((exhausted | Job.cancel_requested, now(session)), else_=None),
    )


def _take_back(session: Session, condition: ColumnElement[bool], **values: object) -> list[Requeued]:
    rows = session.execute(
        update(Job)
        .where(condition)
        .values(**values, published_at=now(session), lease_expires_at=None, worker=None)
        .returning(Job.id, Job.kind, Job.status, Job.attempt)
        .execution_options(synchronize_session=False)
    )
    return [Requeued(job_id, JobKind(kind), JobStatus(status), attempt) for job_id, kind, status, attempt in rows]


def _end(
    session: Session,
    claims: Collection[Claim],
    status: JobStatus,
    error_type: ErrorType | None = None,
    error_message: str | None = None,
) -> set[uuid.UUID]:
    return _update(
        session,
        _held(claims),
        status=status,
        error_type=error_type,
        error_message=error_message,
        finished_at=now(session),
        lease_expires_at=None,
    )


def _held(claims: Collection[Claim]) -> ColumnElement[bool]:
    pairs: Sequence[tuple[uuid.UUID, int]] = [(claim.job_id, claim.attempt) for claim in claims]
    return tuple_(Job.id, Job.attempt).in_(pairs) & IS_RUNNING


def _update(session: Session, condition: ColumnElement[bool], **values: object) -> set[uuid.UUID]:
    statement = update(Job).where(condition).values(**values).returning(Job.id)
    return set(session.scalars(statement.execution_options(synchronize_session=False)))
