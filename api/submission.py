"""What submitting any kind of job has in common: idempotency, queue limits, one transaction, then the news."""

import hashlib
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Response
from pydantic import BaseModel
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from uuid_utils.compat import uuid7

from api.dependencies import Caller, DatabaseDep, IdempotencyKey, SettingsDep, WaitSeconds, WatcherDep
from api.errors import Problem, ProblemType, invalid
from api.schemas.jobs import JobOut
from api.waiting import Watcher
from db.queries import jobs
from db.session import Database, now, serialize
from db.tables.jobs import Job
from db.vocabulary import JobKind, JobStatus
from pagewright.logging import add_log_fields
from pagewright.settings import Settings
from pagewright.telemetry import JOBS_SUBMITTED
from workers import queue


@dataclass(frozen=True)
class Submission:
    """One submit request: who sent it, for how many jobs of which kind."""

    caller: Caller
    kind: JobKind
    count: int
    batch: bool
    body: BaseModel
    idempotency_key: str | None


Add = Callable[[Session, Sequence[Job]], None]
"""Inserts the jobs, and the rows of their kind beside them. May raise a Problem: nothing is stored then."""


JobShown = TypeVar("JobShown", bound=JobOut)


@dataclass(frozen=True)
class Submitter:
    """Submits one request's jobs, waits for them as its headers ask, and sets the headers of its response."""

    database: Database
    settings: Settings
    watcher: Watcher
    wait_seconds: int
    idempotency_key: str | None
    response: Response

    async def one(
        self,
        caller: Caller,
        kind: JobKind,
        body: BaseModel,
        add: Callable[[Session, Job], None],
        show: Callable[[uuid.UUID], JobShown],
        path: str,
    ) -> JobShown:
        """The job as `show` reads it then, below `path`. The status becomes 200 if it is over."""
        submission = Submission(caller, kind, 1, False, body, self.idempotency_key)
        [job] = await self.jobs(submission, lambda session, new: add(session, new[0]))
        await self.wait(self.watcher.wait_final, job.id)
        shown = await run_in_threadpool(show, job.id)
        self.locate(f"{path}/{job.id}", final=shown.status.final)
        return shown

    async def jobs(self, submission: Submission, add: Add) -> list[Job]:
        return await run_in_threadpool(submit, self.database, self.settings, submission, add)

    async def wait(self, wait: Callable[[uuid.UUID, float], Awaitable[None]], id: uuid.UUID) -> None:
        if self.wait_seconds:
            await wait(id, self.wait_seconds)
            self.response.headers["Preference-Applied"] = f"wait={self.wait_seconds}"

    def locate(self, path: str, *, final: bool) -> None:
        self.response.headers["Location"] = path
        if final:
            self.response.status_code = 200


async def _submitter(
    database: DatabaseDep,
    settings: SettingsDep,
    watcher: WatcherDep,
    wait_seconds: WaitSeconds,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> Submitter:
    return Submitter(database, settings, watcher, wait_seconds, idempotency_key, response)


SubmitterDep = Annotated[Submitter, Depends(_submitter)]


def submit(database: Database, settings: Settings, submission: Submission, add: Add) -> list[Job]:
    """Store the jobs in one transaction and publish them; or find those that the same request made before.

    Raises a 409 Problem for an Idempotency-Key that came with another body, and 429 where a queue limit is reached.
    """
    digest = hashlib.sha256(submission.body.model_dump_json().encode()).hexdigest()
    try:
        with database.write() as session:
            if known := _submitted_before(session, submission, digest):
                _note(known)
                return known
            _check_limits(session, settings, submission)
            new = _make_jobs(session, settings, submission, digest)
            add(session, new)
    except IntegrityError:
        # Another request with the same Idempotency-Key was faster; anything else is a fault of ours.
        with database.read() as session:
            if known := _submitted_before(session, submission, digest):
                _note(known)
                return known
        raise
    JOBS_SUBMITTED.labels(submission.kind).inc(len(new))
    _note(new)
    queue.publish(submission.kind, [job.id for job in new])
    return new


def _note(made: Sequence[Job]) -> None:
    """Have the log say which job, or which batch, the request is about."""
    if made[0].batch_id is None:
        add_log_fields(job_id=str(made[0].id))
    else:
        add_log_fields(batch_id=str(made[0].batch_id))


def _submitted_before(session: Session, submission: Submission, digest: str) -> list[Job]:
    if submission.idempotency_key is None:
        return []
    known = jobs.submitted_before(session, submission.caller.key_id, submission.idempotency_key)
    if known and (known[0].request_sha256 != digest or known[0].kind != submission.kind):
        raise Problem(
            409, ProblemType.IDEMPOTENCY_CONFLICT, "this Idempotency-Key was used before, with another request"
        )
    return known


def _check_limits(session: Session, settings: Settings, submission: Submission) -> None:
    for owner, limit, whose in (
        (submission.caller.key_id, settings.max_queued_per_key, "this key"),
        (None, settings.max_queued, "the server"),
    ):
        if submission.count > limit:
            raise invalid("items", f"{whose} may have {limit} jobs queued, so {submission.count} at once never fit")
        queued = jobs.queued_count(session, api_key_id=owner, at_most=limit)
        if submission.batch or queued > limit // 2:
            # Submits at the same moment count the same room as their own. A single one that finds plenty need not wait.
            serialize(session, f"queue of {whose} {owner}")
            queued = jobs.queued_count(session, api_key_id=owner, at_most=limit)
        if queued + submission.count > limit:
            raise Problem(
                429,
                ProblemType.QUEUE_FULL,
                f"{whose} may have {limit} jobs queued, and has {queued}; {submission.count} more do not fit",
                headers={"Retry-After": str(settings.retry_after_seconds)},
            )


def _make_jobs(session: Session, settings: Settings, submission: Submission, digest: str) -> list[Job]:
    moment = now(session)
    batch_id: uuid.UUID | None = uuid7() if submission.batch else None
    return [
        Job(
            id=uuid7(),
            kind=submission.kind,
            status=JobStatus.QUEUED,
            api_key_id=submission.caller.key_id,
            batch_id=batch_id,
            # The first job of a batch carries the key for all of them.
            idempotency_key=submission.idempotency_key if position == 0 else None,
            request_sha256=digest if position == 0 else None,
            attempt=0,
            max_attempts=settings.max_attempts,
            cancel_requested=False,
            created_at=moment,
            published_at=moment,
        )
        for position in range(submission.count)
    ]
