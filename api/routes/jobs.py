import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.dependencies import AnyCaller, DatabaseDep, GuardedRoute, Paging, WatcherDep
from api.errors import document_problems, not_found
from api.schemas.common import PageOut
from api.schemas.jobs import JobOut
from db import jobs, lifecycle
from db.tables import Job, JobKind, JobStatus

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
        lifecycle.request_cancel(session, job.id)
    with database.read() as session:
        [job] = jobs.get_many(session, [job.id])
    return JobOut.of(job)


@router.get("/{job_id}/events", response_class=EventSourceResponse, responses=document_problems(404))
async def events(job: CallersJob, watcher: WatcherDep) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: the job as it is, and again each time it changes. The stream ends when the job has.

    Each event carries the whole state, so a client that lost its connection just connects again.
    """
    async with aclosing(watcher.follow(job.id)) as states:
        async for state in states:
            yield ServerSentEvent(event="job", data=JobOut.of(state))
