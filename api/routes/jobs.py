"""Jobs of every kind: status, events, cancelling."""

import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.dependencies import AnyCaller, DatabaseDep, GuardedRoute, WatcherDep
from api.errors import document_problems, not_found
from api.queued_jobs import QueuedJobsDep
from api.references import Reference, find_job_id
from api.schemas.common import PageOut
from api.schemas.fine_tunes import StepOut
from api.schemas.jobs import JobDetails, JobEventOut, JobsQuery, JobSummary
from db import job_transitions
from db.queries import fine_tunes, job_events, job_names, jobs
from db.queries.job_names import JobNames
from db.session import Database
from db.tables.jobs import Job
from db.vocabulary import JobKind, JobStatus
from pagewright.telemetry import JOBS_ENDED

router = APIRouter(
    prefix="/v1/jobs", tags=["jobs"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)


def find_job(session: Session, owner: uuid.UUID | None, reference: uuid.UUID | str, kind: JobKind | None = None) -> Job:
    """Return the job with this id, or the latest one with this name.

    Raises a 404 Problem if there is no such job, or if it has another owner or kind; with None as owner or kind, any
    job is returned.
    """
    job = jobs.get(session, find_job_id(session, str(reference), kind=kind, owner=owner), owner=owner)
    if job is None or kind not in (None, job.kind):
        raise not_found(kind.word if kind else "job")
    return job


def find_job_details(
    database: Database, owner: uuid.UUID | None, reference: uuid.UUID | str, kind: JobKind | None = None
) -> JobDetails:
    """Return a job, as `find_job` finds it, with its names and events."""
    with database.read() as session:
        job = find_job(session, owner, reference, kind)
        names = job_names.of_jobs(session, [job])
        return JobDetails.of_job_and(job, names[job.id], job_events.of_job(session, job.id))


def page_of_jobs(database: Database, owner: uuid.UUID | None, query: JobsQuery) -> PageOut[JobSummary]:
    """Return a page of jobs of the API key `owner`, or of all keys with None."""
    with database.read() as session:
        page = jobs.page(
            session,
            owner=owner,
            status=query.status,
            kind=query.kind,
            batch_id=query.batch_id,
            named=query.named(),
            limit=query.limit,
            after=query.after,
        )
        names = job_names.of_jobs(session, page.items)
    return PageOut.of(page.map(lambda job: JobSummary.of(job, names[job.id])))


def _callers_job(job: Reference, caller: AnyCaller, database: DatabaseDep) -> tuple[Job, JobNames]:
    with database.read() as session:
        found = find_job(session, caller.owner, job)
        return found, job_names.of_jobs(session, [found])[found.id]


CallersJob = Annotated[tuple[Job, JobNames], Depends(_callers_job)]


@router.get("", summary="List jobs")
def list_jobs(caller: AnyCaller, database: DatabaseDep, query: Annotated[JobsQuery, Query()]) -> PageOut[JobSummary]:
    """List the caller's jobs of every kind, newest first. An admin key lists everyone's."""
    return page_of_jobs(database, caller.owner, query)


@router.get("/{job:reference}", summary="Get a job", responses=document_problems(404))
def get_job(job: Reference, caller: AnyCaller, database: DatabaseDep, queued: QueuedJobsDep) -> JobDetails:
    """Get a job with its events. The request and the result are at the resource of its kind."""
    return queued.explain(find_job_details(database, caller.owner, job))


@router.post("/{job:reference}/cancel", summary="Cancel a job", responses=document_problems(404))
def cancel_job(job: CallersJob, caller: AnyCaller, database: DatabaseDep, queued: QueuedJobsDep) -> JobDetails:
    """Cancel a job. A queued job is cancelled immediately, a running one within seconds, and a finished one is left
    unchanged."""
    found, _ = job
    with database.write() as session:
        status = job_transitions.request_cancel(session, found.id)
    if status == JobStatus.CANCELLED:
        JOBS_ENDED.labels(found.kind, status).inc()
    return queued.explain(find_job_details(database, caller.owner, found.id))


@router.get(
    "/{job:reference}/events",
    summary="Stream the events of a job",
    response_class=EventSourceResponse,
    responses=document_problems(404),
)
async def stream_job_events(
    job: CallersJob, database: DatabaseDep, watcher: WatcherDep, queued: QueuedJobsDep
) -> AsyncIterator[ServerSentEvent]:
    """Stream a job's changes as server-sent events.

    - `job`: the job, first as it is now, then after each change, and every 5 seconds while it is queued or its model is
      loading;
    - `event`: something that happened while the job ran;
    - `step`: the measurements of a fine-tune's step.

    The stream ends after the `job` event with a final status. A new connection gets all events from the start, so a
    client that lost its connection can simply connect again.
    """
    found, names = job
    sent = _SentEvents(found)
    async with aclosing(watcher.follow(found.id)) as changes:
        async for changed in changes:
            for event in await run_in_threadpool(sent.new_events, database):
                yield event
            summary = await run_in_threadpool(queued.explain, JobSummary.of(changed, names))
            yield ServerSentEvent(event="job", data=summary)


class _SentEvents:
    """Which of a job's events and steps a stream has sent."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._last_event: uuid.UUID | None = None
        self._last_step = -1

    def new_events(self, database: Database) -> list[ServerSentEvent]:
        """Return the events and steps stored since the last call."""
        with database.read() as session:
            events = job_events.of_job(session, self._job.id, after=self._last_event)
            steps = (
                fine_tunes.steps(session, self._job.id, after=self._last_step, limit=None)
                if self._job.kind == JobKind.FINE_TUNE
                else []
            )
        if events:
            self._last_event = events[-1].id
        if steps:
            self._last_step = steps[-1].step
        return [ServerSentEvent(event="event", data=JobEventOut.of(event)) for event in events] + [
            ServerSentEvent(event="step", data=StepOut.of(step)) for step in steps
        ]
