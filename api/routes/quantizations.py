"""Quantizations: jobs that quantize a model's weights with GPTQ."""

import uuid
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from api.dependencies import AdminCaller, AnyCaller, DatabaseDep, GuardedRoute
from api.errors import document_problems, invalid, name_taken, not_found
from api.prompting import prompt_columns
from api.queued_jobs import QueuedJobsDep
from api.references import Reference, dataset_with_rows, find_job_id, full_model
from api.schemas.common import DatasetJobsQuery, PageOut
from api.schemas.quantizations import QuantizationDetails, QuantizationIn, QuantizationOut
from api.submission import SubmitterDep
from db.queries import job_events, jobs, models, quantizations
from db.session import Database
from db.tables.jobs import Job
from db.tables.quantizations import Quantization
from db.vocabulary import JobKind

router = APIRouter(
    prefix="/v1/quantizations",
    tags=["quantizations"],
    route_class=GuardedRoute,
    responses=document_problems(401, 422, 503),
)


@router.post(
    "",
    summary="Create a quantization",
    status_code=202,
    responses={200: {"model": QuantizationDetails}, **document_problems(400, 403, 409, 413, 415, 429)},
)
async def create_quantization(
    body: QuantizationIn, caller: AdminCaller, database: DatabaseDep, submitter: SubmitterDep
) -> QuantizationDetails:
    """Submit a job that quantizes a model with GPTQ and compares it with the original and with bitsandbytes.

    The quantized model is registered when the job succeeds. Requires an admin key.
    """
    find = partial(_find, database, caller.owner)
    return await submitter.submit_one(caller, JobKind.QUANTIZATION, body, partial(_add, body), find, router.prefix)


@router.get("", summary="List quantizations")
def list_quantizations(
    caller: AnyCaller, database: DatabaseDep, query: Annotated[DatasetJobsQuery, Query()]
) -> PageOut[QuantizationOut]:
    """List the caller's quantizations, newest first. An admin key lists everyone's."""
    with database.read() as session:
        page = quantizations.page(
            session,
            owner=caller.owner,
            status=query.status,
            named=query.named(),
            limit=query.limit,
            after=query.after,
        )
    return PageOut.of(page.map(QuantizationOut.of_row))


@router.get("/{quantization:reference}", summary="Get a quantization", responses=document_problems(404))
def get_quantization(
    quantization: Reference, caller: AnyCaller, database: DatabaseDep, queued: QueuedJobsDep
) -> QuantizationDetails:
    """Get a quantization with its report, its quantized modules and its events."""
    return queued.explain(_find(database, caller.owner, quantization))


def _add(body: QuantizationIn, session: Session, job: Job) -> None:
    model = full_model(session, body.model, "quantize")
    if (model.parameters or {}).get("quantization"):
        raise invalid("model", "its weights are already quantized; use the model that they were quantized from")
    dataset = dataset_with_rows(session, body.dataset, body.split)
    other, other_rows = body.split.other, dataset.rows_of(body.split.other)
    if body.report_rows and not other_rows:
        message = f"the dataset has no rows in its {other.value} split; use 0 for no report"
        raise invalid("report_rows", message)
    if not models.name_is_free(session, body.name):
        raise name_taken("model")
    quantization = Quantization(
        job_id=job.id,
        model_id=model.id,
        name=body.name,
        dataset_id=dataset.id,
        split=body.split,
        options=body.options.model_dump(),
        **prompt_columns(session, body, model),
        report_rows=min(body.report_rows, other_rows),
    )
    jobs.add(session, job, quantization)


def _find(database: Database, owner: uuid.UUID | None, reference: uuid.UUID | str) -> QuantizationDetails:
    with database.read() as session:
        job_id = find_job_id(session, str(reference), kind=JobKind.QUANTIZATION, owner=owner)
        row = quantizations.get(session, job_id, owner=owner)
        if row is None:
            raise not_found("quantization")
        return QuantizationDetails.of_row_and(
            row,
            quantizations.variants(session, job_id),
            quantizations.modules(session, job_id),
            job_events.of_job(session, job_id),
        )
