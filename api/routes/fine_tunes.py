import uuid
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from api.dependencies import AdminCaller, AnyCaller, DatabaseDep, GuardedRoute, Paging
from api.errors import document_problems, invalid, name_taken, not_found
from api.references import dataset_with_rows, full_model
from api.schemas.common import PageOut
from api.schemas.fine_tunes import FineTuneDetails, FineTuneIn, FineTuneOut, StepOut, StepsOut
from api.submission import SubmitterDep
from db.queries import fine_tunes, job_events, jobs, models
from db.session import Database
from db.tables.fine_tunes import FineTune
from db.tables.jobs import Job
from db.vocabulary import JobKind, JobStatus

router = APIRouter(
    prefix="/v1/fine-tunes", tags=["fine-tunes"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)


@router.post(
    "",
    status_code=202,
    responses={200: {"model": FineTuneDetails}, **document_problems(400, 403, 409, 413, 415, 429)},
)
async def create(
    body: FineTuneIn, caller: AdminCaller, database: DatabaseDep, submitter: SubmitterDep
) -> FineTuneDetails:
    """Train a LoRA adapter on a dataset. It is registered as a model when the job succeeds."""
    return await submitter.one(
        caller, JobKind.FINE_TUNE, body, partial(_add, body), partial(_find, database, caller.owner), router.prefix
    )


@router.get("")
def index(
    caller: AnyCaller, database: DatabaseDep, paging: Paging, status: JobStatus | None = None
) -> PageOut[FineTuneOut]:
    with database.read() as session:
        page = fine_tunes.page(session, owner=caller.owner, status=status, limit=paging.limit, after=paging.after)
    return PageOut.of(page.map(FineTuneOut.of_row))


@router.get("/{job_id}", responses=document_problems(404))
def show(job_id: uuid.UUID, caller: AnyCaller, database: DatabaseDep) -> FineTuneDetails:
    return _find(database, caller.owner, job_id)


@router.get("/{job_id}/steps", responses=document_problems(404))
def metrics(
    job_id: uuid.UUID,
    caller: AnyCaller,
    database: DatabaseDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    after: Annotated[int, Query(ge=-1, le=2**31 - 1, description="`next` of the page before.")] = -1,
) -> StepsOut:
    """The loss curve and what goes with it. An attempt that goes on from a checkpoint replaces the steps it redoes."""
    _find(database, caller.owner, job_id)
    with database.read() as session:
        rows = fine_tunes.steps(session, job_id, after=after, limit=limit + 1)
    items = [StepOut.of(row) for row in rows[:limit]]
    return StepsOut(items=items, next=items[-1].step if len(rows) > limit else None)


def _add(body: FineTuneIn, session: Session, job: Job) -> None:
    base = full_model(session, body.model, "train on")
    dataset = dataset_with_rows(session, body.dataset, body.split)
    if body.training.eval_steps and not dataset.rows_of(body.split.other):
        raise invalid("training.eval_steps", f"the dataset has no {body.split.other.value} split to evaluate on")
    if not models.name_is_free(session, body.name):
        raise name_taken("model")
    asked = FineTune(
        job_id=job.id,
        model_id=base.id,
        dataset_id=dataset.id,
        split=body.split,
        name=body.name,
        lora=body.lora.model_dump(),
        training=body.training.options(),
        load=body.loading(),
        devices=body.devices,
    )
    jobs.add(session, job, asked)
    if body.training.optim == "adamw_hf":
        message = "optim: adamw_hf is no longer part of transformers; adamw_torch computes the same"
        job_events.add(session, job.id, 0, "adamw-hf", message)


def _find(database: Database, owner: uuid.UUID | None, job_id: uuid.UUID) -> FineTuneDetails:
    with database.read() as session:
        row = fine_tunes.get(session, job_id, owner=owner)
        if row is None:
            raise not_found("fine-tune")
        return FineTuneDetails.of_row_and(row, job_events.of_job(session, job_id))
