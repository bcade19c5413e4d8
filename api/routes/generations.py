import uuid
from collections.abc import Sequence

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.convertors import StringConvertor, register_url_convertor

from api.dependencies import AnyCaller, DatabaseDep, GuardedRoute, Paging
from api.errors import Problem, ProblemType, document_problems, invalid, not_found
from api.schemas.common import PageOut
from api.schemas.generations import (
    GenerationBatchIn,
    GenerationBatchOut,
    GenerationBatchSubmitted,
    GenerationIn,
    GenerationOut,
)
from api.submission import Submission, SubmitterDep
from api.untrusted import without_connecting
from db.queries import generations, jobs, models
from db.queries.generations import GenerationRow
from db.session import Database
from db.tables.generations import Generation
from db.tables.jobs import Job
from db.vocabulary import JobKind, JobStatus

router = APIRouter(
    prefix="/v1/generations", tags=["generations"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)


class _JobId(StringConvertor):
    """Whatever is no other path here, so that these answer 405 to methods that they don't have."""

    regex = "(?!batch$)[^/]+"


register_url_convertor("generation_id", _JobId())

SUBMIT_PROBLEMS = document_problems(400, 409, 413, 415, 429)

# The page is untrusted: no origin, no scripts, no forms, nothing from the network; it may only look its best.
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-DNS-Prefetch-Control": "off",
    "Cache-Control": "private, no-store",
}


@router.post("", status_code=202, responses={200: {"model": GenerationOut}, **SUBMIT_PROBLEMS})
async def create(
    body: GenerationIn, caller: AnyCaller, database: DatabaseDep, submitter: SubmitterDep
) -> GenerationOut:
    """Submit one generation. 202 with the queued job; 200 if it is over, having been waited for or sent before."""

    def add(session: Session, new: Job) -> None:
        _add(session, [new], [body], field="model")

    def show(job_id: uuid.UUID) -> GenerationOut:
        return GenerationOut.of_row(_find(database, caller.owner, job_id))

    return await submitter.one(caller, JobKind.GENERATION, body, add, show, router.prefix)


@router.post("/batch", status_code=202, responses={200: {"model": GenerationBatchSubmitted}, **SUBMIT_PROBLEMS})
async def create_batch(
    body: GenerationBatchIn, caller: AnyCaller, database: DatabaseDep, submitter: SubmitterDep
) -> GenerationBatchSubmitted:
    """Submit up to 10,000 generations: all of them, or with an error none."""

    def add(session: Session, new: Sequence[Job]) -> None:
        _add(session, new, body.items, field="items[{}].model")

    key = submitter.idempotency_key
    batch = await submitter.jobs(Submission(caller, JobKind.GENERATION, len(body.items), True, body, key), add)
    batch_id = batch[0].batch_id
    assert batch_id is not None
    await submitter.wait(submitter.watcher.wait_batch_final, batch_id)
    out = await run_in_threadpool(_find_batch, database, caller.owner, batch_id)
    submitter.locate(f"{router.prefix}/batch/{batch_id}", final=out.final)
    return GenerationBatchSubmitted(id=out.id, counts=out.counts, job_ids=[job.id for job in batch])


@router.get("")
def index(
    caller: AnyCaller,
    database: DatabaseDep,
    paging: Paging,
    status: JobStatus | None = None,
    batch_id: uuid.UUID | None = None,
) -> PageOut[GenerationOut]:
    """Generations, newest first; a batch's with `batch_id`."""
    with database.read() as session:
        page = generations.page(
            session, owner=caller.owner, status=status, batch_id=batch_id, limit=paging.limit, after=paging.after
        )
    return PageOut.of(page.map(GenerationOut.of_row))


@router.get("/batch/{batch_id}", responses=document_problems(404))
def show_batch(batch_id: uuid.UUID, caller: AnyCaller, database: DatabaseDep) -> GenerationBatchOut:
    return _find_batch(database, caller.owner, batch_id)


@router.get("/{job_id:generation_id}", responses=document_problems(404))
def show(job_id: uuid.UUID, caller: AnyCaller, database: DatabaseDep) -> GenerationOut:
    return GenerationOut.of_row(_find(database, caller.owner, job_id))


@router.get(
    "/{job_id}/html",
    response_class=Response,
    responses={200: {"content": {"text/html": {}}}, **document_problems(404, 409)},
)
def show_html(job_id: uuid.UUID, caller: AnyCaller, database: DatabaseDep) -> Response:
    """The page itself, sandboxed: it is untrusted. What there is of it, if the job was cancelled.

    As it is shown, it has no links to resources and no frames; what the model wrote is the generation's `completion`.
    """
    row = _find(database, caller.owner, job_id)
    if row.generation.completion is None:
        if JobStatus(row.job.status).final:
            raise Problem(409, ProblemType.NO_COMPLETION, f"the job {row.job.status} and has no completion")
        raise Problem(409, ProblemType.NOT_FINISHED, f"the job is {row.job.status}; its page is still to come")
    page = without_connecting(row.generation.completion)
    return Response(page, media_type="text/html", headers=PAGE_HEADERS)


def _add(session: Session, new: Sequence[Job], items: Sequence[GenerationIn], field: str) -> None:
    model_ids = models.ids_by_name(session, {item.model for item in items})
    for position, item in enumerate(items):
        if item.model not in model_ids:
            raise invalid(field.format(position), "no model of that name is registered")
    rows = [
        Generation(
            job_id=job.id,
            model_id=model_ids[item.model],
            load=item.loading(),
            **{name: getattr(item, name) for name in _ASKED},
        )
        for job, item in zip(new, items, strict=True)
    ]
    generations.add(session, new, rows)


_ASKED = [name for name in GenerationIn.model_fields if name not in ("model", "load")]


def _find(database: Database, owner: uuid.UUID | None, job_id: uuid.UUID) -> GenerationRow:
    with database.read() as session:
        row = generations.get(session, job_id, owner=owner)
    if row is None:
        raise not_found("generation")
    return row


def _find_batch(database: Database, owner: uuid.UUID | None, batch_id: uuid.UUID) -> GenerationBatchOut:
    with database.read() as session:
        counts = jobs.batch_counts(session, batch_id, owner=owner)
    if not counts:
        raise not_found("batch")
    return GenerationBatchOut.of(batch_id, counts)
