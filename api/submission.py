"""Submitting jobs of any kind: idempotency, queue limits, storing, publishing, and waiting for the result."""

import hashlib
import uuid
from collections.abc import Callable, Sequence
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
from api.queued_jobs import QueuedJobs, QueuedJobsDep
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

Representation = TypeVar("Representation", bound=JobOut)


@dataclass(frozen=True)
class Submission:
    """A request to submit `count` jobs of one kind. A batch can have one job, too."""

    caller: Caller
    kind: JobKind
    body: BaseModel
    count: int
    is_batch: bool
    idempotency_key: str | None


Add = Callable[[Session, Sequence[Job]], None]
"""Inserts jobs together with the rows of their kind. When it raises a Problem, nothing is stored."""


@dataclass(frozen=True)
class Submitter:
    """Submits the jobs of one HTTP request, waits for them if its headers say so, and sets the response's headers."""

    database: Database
    settings: Settings
    watcher: Watcher
    queued: QueuedJobs
    wait_seconds: int
    idempotency_key: str | None
    response: Response

    async def submit_one(
        self,
        caller: Caller,
        kind: JobKind,
        body: BaseModel,
        add: Callable[[Session, Job], None],
        find: Callable[[uuid.UUID], Representation],
        path: str,
    ) -> Representation:
        """Submit a job, and return its representation as `find` reads it after the wait.

        The Location header is the job's id below `path`. The status becomes 200 if the job has finished.
        """
        submission = Submission(caller, kind, body, 1, False, self.idempotency_key)
        [job] = await run_in_threadpool(
            submit, self.database, self.settings, submission, lambda session, new_jobs: add(session, new_jobs[0])
        )
        if self.wait_seconds:
            await self.watcher.wait_final(job.id, self.wait_seconds)
            self._confirm_wait()
        representation = await run_in_threadpool(lambda: self.queued.explain(find(job.id)))
        self.set_location(f"{path}/{job.id}", final=representation.status.final)
        return representation

    async def submit_batch(
        self, caller: Caller, kind: JobKind, body: BaseModel, count: int, add: Add
    ) -> tuple[uuid.UUID, list[uuid.UUID]]:
        """Submit a batch, wait for it, and return the batch's id and its jobs' ids."""
        submission = Submission(caller, kind, body, count, True, self.idempotency_key)
        batch = await run_in_threadpool(submit, self.database, self.settings, submission, add)
        batch_id = batch[0].batch_id
        assert batch_id is not None
        if self.wait_seconds:
            await self.watcher.wait_batch_final(batch_id, self.wait_seconds)
            self._confirm_wait()
        return batch_id, [job.id for job in batch]

    def set_location(self, path: str, *, final: bool) -> None:
        self.response.headers["Location"] = path
        if final:
            self.response.status_code = 200

    def _confirm_wait(self) -> None:
        self.response.headers["Preference-Applied"] = f"wait={self.wait_seconds}"


async def _submitter(
    database: DatabaseDep,
    settings: SettingsDep,
    watcher: WatcherDep,
    queued: QueuedJobsDep,
    wait_seconds: WaitSeconds,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> Submitter:
    return Submitter(database, settings, watcher, queued, wait_seconds, idempotency_key, response)


SubmitterDep = Annotated[Submitter, Depends(_submitter)]


def submit(database: Database, settings: Settings, submission: Submission, add: Add) -> list[Job]:
    """Store the jobs in one transaction and publish them. Return the earlier jobs if the request repeats one with the
    same Idempotency-Key.

    Raises a 409 Problem if the Idempotency-Key was used with another request, and 429 if a queue limit is reached.
    """
    digest = hashlib.sha256(submission.body.model_dump_json().encode()).hexdigest()
    try:
        with database.write() as session:
            if earlier := _submitted_before(session, submission, digest):
                _log_ids(earlier)
                return earlier
            _check_limits(session, settings, submission)
            new_jobs = _new_jobs(session, settings, submission, digest)
            add(session, new_jobs)
    except IntegrityError:
        # A concurrent request with the same Idempotency-Key was faster. Any other cause is a bug.
        with database.read() as session:
            if earlier := _submitted_before(session, submission, digest):
                _log_ids(earlier)
                return earlier
        raise
    JOBS_SUBMITTED.labels(submission.kind).inc(len(new_jobs))
    _log_ids(new_jobs)
    queue.publish(submission.kind, [job.id for job in new_jobs])
    return new_jobs


def _log_ids(submitted: Sequence[Job]) -> None:
    """Add the id of the batch, or of the single job, to the request's log lines."""
    if submitted[0].batch_id is None:
        add_log_fields(job_id=str(submitted[0].id))
    else:
        add_log_fields(batch_id=str(submitted[0].batch_id))


def _submitted_before(session: Session, submission: Submission, digest: str) -> list[Job]:
    if submission.idempotency_key is None:
        return []
    earlier = jobs.submitted_before(session, submission.caller.key_id, submission.idempotency_key)
    if earlier and (earlier[0].request_sha256 != digest or earlier[0].kind != submission.kind):
        detail = "this Idempotency-Key was already used with another request"
        raise Problem(409, ProblemType.IDEMPOTENCY_CONFLICT, detail)
    return earlier


def _check_limits(session: Session, settings: Settings, submission: Submission) -> None:
    for owner, limit, whose in (
        (submission.caller.key_id, settings.max_queued_per_key, "this API key"),
        (None, settings.max_queued, "the server"),
    ):
        if submission.count > limit:
            message = f"{submission.count} jobs exceed the limit of {limit} queued jobs for {whose}"
            raise invalid("items", message)
        queued = jobs.queued_count(session, api_key_id=owner, at_most=limit)
        if submission.is_batch or queued > limit // 2:
            # Concurrent submits would count the same free places, so they take turns. A single job needs no turn while
            # half of the places are free.
            serialize(session, f"queue of {whose} {owner}")
            queued = jobs.queued_count(session, api_key_id=owner, at_most=limit)
        if queued + submission.count > limit:
            raise Problem(
                429,
                ProblemType.QUEUE_FULL,
                f"the limit of {limit} queued jobs for {whose} is reached: {queued} are queued, and this request has "
                f"{submission.count}",
                headers={"Retry-After": str(settings.retry_after_seconds)},
            )


def _new_jobs(session: Session, settings: Settings, submission: Submission, digest: str) -> list[Job]:
    moment = now(session)
    batch_id: uuid.UUID | None = uuid7() if submission.is_batch else None
    return [
        Job(
            id=uuid7(),
            kind=submission.kind,
            status=JobStatus.QUEUED,
            api_key_id=submission.caller.key_id,
            batch_id=batch_id,
            # The first job of a batch holds the Idempotency-Key for all of them.
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
