"""Jobs of every kind: status, events, cancelling."""

import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api.dependencies import AnyCaller, DatabaseDep, GuardedRoute, WatcherDep
from api.errors import document_problems, not_found
from api.schemas.common import PageOut
from api.schemas.fine_tunes import StepOut
from api.schemas.jobs import JobDetails, JobEventOut, JobOut, JobsQuery
from db import job_transitions
from db.queries import fine_tunes, job_events, jobs
from db.session import Database
from db.tables.jobs import Job
from db.vocabulary import JobKind, JobStatus
from pagewright.telemetry import JOBS_ENDED

router = APIRouter(
    prefix="/v1/jobs", tags=["jobs"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)


def find_job_details(database: Database, owner: uuid.UUID | None, job_id: uuid.UUID) -> JobDetails:
    """Return a job with its events. Raises a 404 Problem if there is no such job, or if it is not `owner`'s; with None
    as owner, anyone's job is returned."""
    with database.read() as session:
        job = jobs.get(session, job_id, owner=owner)
        if job is None:
            raise not_found("job")
        return JobDetails.of_job_and(job, job_events.of_job(session, job_id))


def _callers_job(job_id: uuid.UUID, caller: AnyCaller, database: DatabaseDep) -> Job:
    with database.read() as session:
        job = jobs.get(session, job_id, owner=caller.owner)
    if job is None:
        raise not_found("job")
    return job


CallersJob = Annotated[Job, Depends(_callers_job)]


@router.get("", summary="List jobs")
def list_jobs(caller: AnyCaller, database: DatabaseDep, query: Annotated[JobsQuery, Query()]) -> PageOut[JobOut]:
    """List the caller's jobs of every kind, newest first. An admin key lists everyone's."""
    with database.read() as session:
        page = jobs.page(
            session,
            owner=caller.owner,
            status=query.status,
            kind=query.kind,
            batch_id=query.batch_id,
            limit=query.limit,
            after=query.after,
        )
    return PageOut.of(page.map(JobOut.of))


@router.get("/{job_id}", summary="Get a job", responses=document_problems(404))
def get_job(job_id: uuid.UUID, caller: AnyCaller, database: DatabaseDep) -> JobDetails:
    """Get a job with its events. The request and the result are at the resource of its kind."""
    return find_job_details(database, caller.owner, job_id)


@router.post("/{job_id}/cancel", summary="Cancel a job", responses=document_problems(404))
def cancel_job(job: CallersJob, caller: AnyCaller, database: DatabaseDep) -> JobDetails:
    """Cancel a job. A queued job is cancelled immediately, a running one within seconds, and a finished one is left
    unchanged."""
    with database.write() as session:
        status = job_transitions.request_cancel(session, job.id)
    if status == JobStatus.CANCELLED:
        JOBS_ENDED.labels(job.kind, status).inc()
    return find_job_details(database, caller.owner, job.id)


@router.get(
    "/{job_id}/events",
    summary="Stream the events of a job",
    response_class=EventSourceResponse,
    responses=document_problems(404),
)
async def stream_job_events(
    job: CallersJob, database: DatabaseDep, watcher: WatcherDep
) -> AsyncIterator[ServerSentEvent]:
    """Stream a job's changes as server-sent events.

    - `job`: the job, first as it is now and then after each change;
    - `event`: something that happened while the job ran;
    - `step`: the measurements of a fine-tune's step.

    The stream ends after the `job` event with a final status. A new connection gets all events from the start, so a
    client that lost its connection can simply connect again.
    """
    sent = _SentEvents(job)
    async with aclosing(watcher.follow(job.id)) as changes:
        async for changed in changes:
            for event in await run_in_threadpool(sent.new_events, database):
                yield event
            yield ServerSentEvent(event="job", data=JobOut.of(changed))


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
