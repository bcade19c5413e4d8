"""Merges: jobs that merge an adapter with its base model. `POST /v1/models/{model}/merge` submits them."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import AnyCaller, DatabaseDep, GuardedRoute
from api.errors import document_problems
from api.queued_jobs import QueuedJobsDep
from api.references import Reference
from api.routes.jobs import find_job_details, page_of_jobs
from api.schemas.common import NamedJobsQuery, PageOut
from api.schemas.jobs import JobDetails, JobsQuery, JobSummary
from db.vocabulary import JobKind

router = APIRouter(
    prefix="/v1/merges", tags=["merges"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)


@router.get("", summary="List merges")
def list_merges(
    caller: AnyCaller, database: DatabaseDep, query: Annotated[NamedJobsQuery, Query()]
) -> PageOut[JobSummary]:
    """List the caller's merges, newest first. An admin key lists everyone's."""
    return page_of_jobs(database, caller.owner, JobsQuery(**query.model_dump(), kind=JobKind.MERGE))


@router.get("/{merge:reference}", summary="Get a merge", responses=document_problems(404))
def get_merge(merge: Reference, caller: AnyCaller, database: DatabaseDep, queued: QueuedJobsDep) -> JobDetails:
    """Get a merge with its events."""
    return queued.explain(find_job_details(database, caller.owner, merge, JobKind.MERGE))
