"""Pulls: jobs that download the files of a hub model before other jobs need them."""

import uuid
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from api.dependencies import AdminCaller, AnyCaller, DatabaseDep, GuardedRoute
from api.errors import document_problems, invalid, not_found
from api.queued_jobs import QueuedJobsDep
from api.references import Reference, find_job_id, full_model
from api.schemas.common import JobPageQuery, PageOut
from api.schemas.pulls import PullIn, PullOut
from api.submission import SubmitterDep
from db.queries import jobs, pulls
from db.session import Database
from db.tables.jobs import Job
from db.tables.pulls import Pull
from db.vocabulary import JobKind, ModelSource

router = APIRouter(
    prefix="/v1/pulls", tags=["pulls"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)


@router.post(
    "",
    summary="Create a pull",
    status_code=202,
    responses={200: {"model": PullOut}, **document_problems(400, 403, 409, 413, 415, 429)},
)
async def create_pull(body: PullIn, caller: AdminCaller, database: DatabaseDep, submitter: SubmitterDep) -> PullOut:
    """Submit a job that downloads the files of a hub model to the cache of an inference worker's machine.

    Jobs download what is missing themselves; a pull does so in advance. Requires an admin key.
    """
    find = partial(_find, database, caller.owner)
    return await submitter.submit_one(caller, JobKind.PULL, body, partial(_add, body), find, router.prefix)


@router.get("", summary="List pulls")
def list_pulls(caller: AnyCaller, database: DatabaseDep, query: Annotated[JobPageQuery, Query()]) -> PageOut[PullOut]:
    """List the caller's pulls, newest first. An admin key lists everyone's."""
    with database.read() as session:
        page = pulls.page(session, owner=caller.owner, status=query.status, limit=query.limit, after=query.after)
    return PageOut.of(page.map(PullOut.of_row))


@router.get("/{pull:reference}", summary="Get a pull", responses=document_problems(404))
def get_pull(pull: Reference, caller: AnyCaller, database: DatabaseDep, queued: QueuedJobsDep) -> PullOut:
    """Get a pull with its progress in bytes."""
    return queued.explain(_find(database, caller.owner, pull))


def _add(body: PullIn, session: Session, job: Job) -> None:
    model = full_model(session, body.model, "pull")
    if model.source != ModelSource.HUB:
        raise invalid("model", f"only hub models are pulled; the source of this one is {model.source}")
    jobs.add(session, job, Pull(job_id=job.id, model_id=model.id))


def _find(database: Database, owner: uuid.UUID | None, reference: uuid.UUID | str) -> PullOut:
    with database.read() as session:
        job_id = find_job_id(session, str(reference), kind=JobKind.PULL, owner=owner)
        row = pulls.get(session, job_id, owner=owner)
        if row is None:
            raise not_found("pull")
        return PullOut.of_row(row)
