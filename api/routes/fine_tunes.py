"""Fine-tunes: jobs that train a LoRA adapter on a dataset."""

import uuid
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from api.dependencies import AdminCaller, AnyCaller, DatabaseDep, GuardedRoute
from api.errors import document_problems, invalid, name_taken, not_found
from api.prompting import prompt_columns
from api.queued_jobs import QueuedJobsDep
from api.references import Reference, dataset_with_rows, find_job_id, full_model, refuse_load_options
from api.schemas.common import DatasetJobsQuery, PageOut
from api.schemas.fine_tunes import FineTuneDetails, FineTuneIn, FineTuneOut, StepOut, StepsOut, StepsQuery
from api.submission import SubmitterDep
from db.queries import fine_tunes, job_events, jobs, models
from db.session import Database
from db.tables.fine_tunes import FineTune
from db.tables.jobs import Job
from db.vocabulary import JobKind
from models.fine_tuning.options import replace_removed_optimizer

router = APIRouter(
    prefix="/v1/fine-tunes", tags=["fine-tunes"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)


@router.post(
    "",
    summary="Create a fine-tune",
    status_code=202,
    responses={200: {"model": FineTuneDetails}, **document_problems(400, 403, 409, 413, 415, 429)},
)
async def create_fine_tune(
    body: FineTuneIn, caller: AdminCaller, database: DatabaseDep, submitter: SubmitterDep
) -> FineTuneDetails:
    """Submit a job that trains a LoRA adapter on a dataset.

    The adapter is registered as a model when the job succeeds. Requires an admin key.
    """
    find = partial(_find, database, caller.owner)
    return await submitter.submit_one(caller, JobKind.FINE_TUNE, body, partial(_add, body), find, router.prefix)


@router.get("", summary="List fine-tunes")
def list_fine_tunes(
    caller: AnyCaller, database: DatabaseDep, query: Annotated[DatasetJobsQuery, Query()]
) -> PageOut[FineTuneOut]:
    """List the caller's fine-tunes, newest first. An admin key lists everyone's."""
    with database.read() as session:
        page = fine_tunes.page(
            session,
            owner=caller.owner,
            status=query.status,
            named=query.named(),
            limit=query.limit,
            after=query.after,
        )
    return PageOut.of(page.map(FineTuneOut.of_row))


@router.get("/{fine_tune:reference}", summary="Get a fine-tune", responses=document_problems(404))
def get_fine_tune(
    fine_tune: Reference, caller: AnyCaller, database: DatabaseDep, queued: QueuedJobsDep
) -> FineTuneDetails:
    """Get a fine-tune with its events."""
    return queued.explain(_find(database, caller.owner, fine_tune))


@router.get("/{fine_tune:reference}/steps", summary="List the steps of a fine-tune", responses=document_problems(404))
def list_fine_tune_steps(
    fine_tune: Reference, caller: AnyCaller, database: DatabaseDep, query: Annotated[StepsQuery, Query()]
) -> StepsOut:
    """List the measured steps: loss, learning rate, gradient norm, speed.

    An attempt that continues from a checkpoint replaces the steps that it repeats.
    """
    found = _find(database, caller.owner, fine_tune)
    with database.read() as session:
        rows = fine_tunes.steps(session, found.id, after=query.after, limit=query.limit + 1)
    items = [StepOut.of(row) for row in rows[: query.limit]]
    return StepsOut(items=items, next=items[-1].step if len(rows) > query.limit else None)


def _add(body: FineTuneIn, session: Session, job: Job) -> None:
    base = full_model(session, body.model, "fine-tune")
    refuse_load_options(session, body, base)
    dataset = dataset_with_rows(session, body.dataset, body.split)
    if body.training.eval_steps and not dataset.rows_of(body.split.other):
        raise invalid("training.eval_steps", f"the dataset has no rows in its {body.split.other.value} split")
    if not models.name_is_free(session, body.name):
        raise name_taken("model")
    training = replace_removed_optimizer(body.training)
    fine_tune = FineTune(
        job_id=job.id,
        model_id=base.id,
        dataset_id=dataset.id,
        split=body.split,
        name=body.name,
        lora=body.lora.model_dump(),
        training=training.model_dump(),
        load=body.load_options(),
        **prompt_columns(session, body, base),
        devices=body.devices,
    )
    jobs.add(session, job, fine_tune)
    if training != body.training:
        message = "training.optim: transformers no longer has adamw_hf; adamw_torch, which computes the same, is used"
        job_events.add(session, job.id, 0, "adamw-hf", message)


def _find(database: Database, owner: uuid.UUID | None, reference: uuid.UUID | str) -> FineTuneDetails:
    with database.read() as session:
        job_id = find_job_id(session, str(reference), kind=JobKind.FINE_TUNE, owner=owner)
        row = fine_tunes.get(session, job_id, owner=owner)
        if row is None:
            raise not_found("fine-tune")
        return FineTuneDetails.of_row_and(row, job_events.of_job(session, job_id))
