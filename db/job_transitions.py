"""Every change of a job's status. No other module writes `jobs.status`.

    queued -> running -> succeeded | failed | cancelled
    running -> queued    if the worker is lost or gives the job back
    queued -> cancelled

Each change is one conditional statement. A worker may change a job only while it holds the job's lease: the job is
running, and its attempt is the one that the worker claimed. Each function returns the jobs that it changed, so a job
that is missing from the result has another attempt or is over, and the worker must store nothing for it.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import ColumnElement, case, select, tuple_, update
from sqlalchemy.orm import Session

from db.session import now
from db.tables.jobs import IS_LIVE, IS_QUEUED, IS_RUNNING, Job
from db.vocabulary import ErrorType, JobKind, JobStatus


@dataclass(frozen=True)
class Claim:
    """A worker's claim of a job: the job and the attempt, which every later write must name.

    `claim` sets the other fields: the kind of the job, and on the first attempt the seconds from its submission to this
    claim.
    """

    job_id: uuid.UUID
    attempt: int
    kind: JobKind | None = field(default=None, compare=False)
    waited_seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Requeued:
    """A job that was taken back from its worker. `status` is queued, or final if the job is not to run again."""

    job_id: uuid.UUID
    kind: JobKind
    status: JobStatus
    attempt: int
    """The attempt that ended."""


def claim(session: Session, job_ids: Collection[uuid.UUID], *, worker: str, lease_seconds: float) -> list[Claim]:
    """Start an attempt at each of these jobs that is queued, and return the claims in the order of the jobs' ids.

    Jobs that are not queued are left out: another worker has claimed them, or they are over.
    """
    moment = now(session)
    rows = session.execute(
        update(Job)
        # Concatenated so that no partial index matches. Right after a large batch was submitted, PostgreSQL's
        # statistics say that few jobs are queued, and it would scan all queued jobs instead of looking up these ids.
        .where(Job.id.in_(job_ids), Job.status.concat("") == JobStatus.QUEUED)
        .values(
            status=JobStatus.RUNNING,
            attempt=Job.attempt + 1,
            lease_expires_at=moment + timedelta(seconds=lease_seconds),
            worker=worker,
            started_at=moment,
            loading_since=None,
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
    """Extend the leases that are still held. Return for each of them whether cancellation of its job was requested."""
    rows = session.execute(
        update(Job)
        .where(_held(claims))
        .values(lease_expires_at=now(session) + timedelta(seconds=lease_seconds))
        .returning(Job.id, Job.attempt, Job.cancel_requested)
        .execution_options(synchronize_session=False)
    )
    return {Claim(job_id, attempt): cancel for job_id, attempt, cancel in rows}


def progress(session: Session, claim: Claim, percent_done: float | None, remaining_seconds: float | None) -> bool:
    """Store the progress of a running job. Return False if the lease is lost; then the caller must store nothing."""
    changed = _update(session, _held([claim]), percent_done=percent_done, remaining_seconds=remaining_seconds)
    return bool(changed)


def set_loading(session: Session, claims: Collection[Claim], *, loading: bool) -> None:
    """Store that running jobs wait from now on for their model to be loaded, or that they do not wait any more.

    Jobs whose lease is lost are left unchanged.
    """
    _update(session, _held(claims), loading_since=now(session) if loading else None)


def succeed(session: Session, claims: Collection[Claim]) -> set[uuid.UUID]:
    """End jobs as succeeded. Return the ids of those whose lease was held; store the results of these only."""
    return _end(session, claims, JobStatus.SUCCEEDED)


def cancel(session: Session, claims: Collection[Claim]) -> set[uuid.UUID]:
    """End running jobs as cancelled. Return the ids of those whose lease was held."""
    return _end(session, claims, JobStatus.CANCELLED)


def fail(session: Session, claims: Collection[Claim], error_type: ErrorType, message: str) -> set[uuid.UUID]:
    """End jobs as failed, with a reason for the client. Return the ids of those whose lease was held."""
    return _end(session, claims, JobStatus.FAILED, error_type=error_type, error_message=message)


def give_back(session: Session, claims: Collection[Claim]) -> list[Requeued]:
    """Queue the jobs of a worker that shuts down, or cancel them if that was requested. Return the changed jobs.

    The attempt does not count: `max_attempts` grows by one, since `attempt`, the fencing token, must never decrease.
    """
    return _take_back(
        session,
        _held(claims),
        status=case((Job.cancel_requested, JobStatus.CANCELLED), else_=JobStatus.QUEUED),
        finished_at=case((Job.cancel_requested, now(session)), else_=None),
        max_attempts=Job.max_attempts + 1,
    )


def request_cancel(session: Session, job_id: uuid.UUID) -> JobStatus | None:
    """Cancel a queued job, or request that the worker of a running job cancels it.

    Return the new status, cancelled or running, or None if there is no such job or it is already over.
    """
    statement = (
        update(Job)
        .where(Job.id == job_id, IS_LIVE)
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
    """Queue the jobs of attempts that failed in a worker that is still alive, for example because its engine died.

    The attempt counts. Return the changed jobs: those without attempts left have failed, with the reason.
    """
    return _requeue(session, _held(claims), reason)


def requeue_expired(session: Session, *, limit: int = 1000) -> list[Requeued]:
    """Queue up to `limit` jobs whose lease has expired.

    The attempt counts. Return the changed jobs: those without attempts left have failed, with the reason.
    """
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
        .values(**values, published_at=now(session), lease_expires_at=None, worker=None, loading_since=None)
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
        loading_since=None,
    )


def _held(claims: Collection[Claim]) -> ColumnElement[bool]:
    pairs: Sequence[tuple[uuid.UUID, int]] = [(claim.job_id, claim.attempt) for claim in claims]
    return tuple_(Job.id, Job.attempt).in_(pairs) & IS_RUNNING


def _update(session: Session, condition: ColumnElement[bool], **values: object) -> set[uuid.UUID]:
    statement = update(Job).where(condition).values(**values).returning(Job.id)
    return set(session.scalars(statement.execution_options(synchronize_session=False)))
