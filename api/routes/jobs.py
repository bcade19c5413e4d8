import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api.dependencies import AnyCaller, DatabaseDep, GuardedRoute, Paging, WatcherDep
from api.errors import document_problems, not_found
from api.schemas.common import PageOut
from api.schemas.fine_tunes import JobEventOut, StepOut
from api.schemas.jobs import JobOut
from db import job_transitions
from db.queries import fine_tunes, job_events, jobs
from db.session import Database
from db.tables.jobs import Job
from db.vocabulary import JobKind, JobStatus
from pagewright.telemetry import JOBS_ENDED

router = APIRouter(
    prefix="/v1/jobs", tags=["jobs"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)


def _callers_job(job_id: uuid.UUID, caller: AnyCaller, database: DatabaseDep) -> Job:
    with database.read() as session:
        job = jobs.get(session, job_id, owner=caller.owner)
    if job is None:
        raise not_found("job")
    return job


CallersJob = Annotated[Job, Depends(_callers_job)]


@router.get("")
def index(
    caller: AnyCaller,
    database: DatabaseDep,
    paging: Paging,
    status: JobStatus | None = None,
    kind: JobKind | None = None,
    batch_id: uuid.UUID | None = None,
) -> PageOut[JobOut]:
    with database.read() as session:
        page = jobs.page(
            session,
            owner=caller.owner,
            status=status,
            kind=kind,
            batch_id=batch_id,
            limit=paging.limit,
            after=paging.after,
        )
    return PageOut.of(page.map(JobOut.of))


@router.get("/{job_id}", responses=document_problems(404))
def show(job: CallersJob) -> JobOut:
    return JobOut.of(job)


@router.post("/{job_id}/cancel", responses=document_problems(404))
def cancel(job: CallersJob, database: DatabaseDep) -> JobOut:
    """Cancel a queued job at once and a running one within seconds. One that is over stays as it is."""
    with database.write() as session:
        status = job_transitions.request_cancel(session, job.id)
    if status == JobStatus.CANCELLED:
        JOBS_ENDED.labels(job.kind, status).inc()
    with database.read() as session:
        [job] = jobs.get_many(session, [job.id])
    return JobOut.of(job)


@router.get("/{job_id}/events", response_class=EventSourceResponse, responses=document_problems(404))
async def events(job: CallersJob, database: DatabaseDep, watcher: WatcherDep) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: `job` is the job as it is, and again each time it changes; `metrics` is what a step of a
    fine-tune measured, and `event` something that happened to it. The stream ends when the job has.

    A new connection gets everything again, so a client that lost its own just connects.
    """
    seen = _Seen(job)
    async with aclosing(watcher.follow(job.id)) as states:
        async for state in states:
            for event in await run_in_threadpool(seen.news, database):
                yield event
            yield ServerSentEvent(event="job", data=JobOut.of(state))


class _Seen:
    """What a stream has shown of a job, beside its state."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._step = -1
        self._event: uuid.UUID | None = None

    def news(self, database: Database) -> list[ServerSentEvent]:
        if self._job.kind != JobKind.FINE_TUNE:
            return []
        with database.read() as session:
            happened = job_events.of_job(session, self._job.id, after=self._event)
            measured = fine_tunes.steps(session, self._job.id, after=self._step, limit=None)
        if happened:
            self._event = happened[-1].id
        if measured:
            self._step = measured[-1].step
        return [ServerSentEvent(event="event", data=JobEventOut.of(event)) for event in happened] + [
            ServerSentEvent(event="step", data=StepOut.of(step)) for step in measured
        ]
