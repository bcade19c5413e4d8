import uuid
from functools import partial

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api.dependencies import AdminCaller, AnyCaller, DatabaseDep, GuardedRoute, Paging
from api.errors import document_problems, invalid, name_taken, not_found
from api.references import dataset_with_rows, full_model
from api.schemas.common import PageOut
from api.schemas.quantizations import QuantizationDetails, QuantizationIn, QuantizationOut
from api.submission import SubmitterDep
from db.queries import job_events, jobs, models, quantizations
from db.session import Database
from db.tables.jobs import Job
from db.tables.quantizations import Quantization
from db.vocabulary import JobKind, JobStatus

router = APIRouter(
    prefix="/v1/quantizations",
    tags=["quantizations"],
    route_class=GuardedRoute,
    responses=document_problems(401, 422, 503),
)


@router.post(
    "",
    status_code=202,
    responses={200: {"model": QuantizationDetails}, **document_problems(400, 403, 409, 413, 415, 429)},
)
async def create(
    body: QuantizationIn, caller: AdminCaller, database: DatabaseDep, submitter: SubmitterDep
) -> QuantizationDetails:
    """Quantize a model with GPTQ, and measure it beside the original and bitsandbytes.

    It is registered as a model when the job succeeds.
    """
    show = partial(_find, database, caller.owner)
    return await submitter.one(caller, JobKind.QUANTIZATION, body, partial(_add, body), show, router.prefix)


@router.get("")
def index(
    caller: AnyCaller, database: DatabaseDep, paging: Paging, status: JobStatus | None = None
) -> PageOut[QuantizationOut]:
    with database.read() as session:
        page = quantizations.page(session, owner=caller.owner, status=status, limit=paging.limit, after=paging.after)
    return PageOut.of(page.map(QuantizationOut.of_row))


@router.get("/{job_id}", responses=document_problems(404))
def show(job_id: uuid.UUID, caller: AnyCaller, database: DatabaseDep) -> QuantizationDetails:
    return _find(database, caller.owner, job_id)


def _add(body: QuantizationIn, session: Session, job: Job) -> None:
    model = full_model(session, body.model, "quantize")
    dataset = dataset_with_rows(session, body.dataset, body.split)
    other, others = body.split.other, dataset.rows_of(body.split.other)
    if body.report_rows and not others:
        raise invalid("report_rows", f"the dataset has no rows in its {other.value} split; 0 asks for no report")
    if not models.name_is_free(session, body.name):
        raise name_taken("model")
    quantization = Quantization(
        job_id=job.id,
        model_id=model.id,
        name=body.name,
        dataset_id=dataset.id,
        split=body.split,
        options=body.options.model_dump(),
        report_rows=min(body.report_rows, others),
    )
    jobs.add(session, job, quantization)


def _find(database: Database, owner: uuid.UUID | None, job_id: uuid.UUID) -> QuantizationDetails:
    with database.read() as session:
        row = quantizations.get(session, job_id, owner=owner)
        if row is None:
            raise not_found("quantization")
        return QuantizationDetails.of_row_and(
            row,
            quantizations.variants(session, job_id),
            quantizations.modules(session, job_id),
            job_events.of_job(session, job_id),
        )
