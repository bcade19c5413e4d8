"""Generations: jobs that write an HTML page for a prompt."""

import uuid
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.convertors import StringConvertor, register_url_convertor

from api.dependencies import AnyCaller, DatabaseDep, GuardedRoute
from api.errors import Problem, ProblemType, document_problems, not_found
from api.prompting import check_may_prompt, template_columns, variable_columns
from api.queued_jobs import QueuedJobsDep
from api.references import refuse_load_options, unknown_model
from api.schemas.common import PageOut
from api.schemas.generations import (
    GenerationBatchIn,
    GenerationBatchOut,
    GenerationBatchSubmitted,
    GenerationIn,
    GenerationOut,
    GenerationsQuery,
)
from api.schemas.prompting import PromptIn
from api.submission import SubmitterDep
from api.untrusted import without_connecting
from db.queries import generations, jobs, models
from db.queries.generations import GenerationRow
from db.session import Database
from db.tables.generations import Generation
from db.tables.jobs import Job
from db.vocabulary import JobKind, JobStatus
from models.prompts.extraction import extract_page

router = APIRouter(
    prefix="/v1/generations", tags=["generations"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)


class _JobId(StringConvertor):
    """Any path segment except `batch`, so that GET /v1/generations/batch is answered with 405 and not with 422."""

    regex = "(?!batch$)[^/]+"


register_url_convertor("generation_id", _JobId())

SUBMIT_PROBLEMS = document_problems(400, 403, 409, 413, 415, 429)

# The page is untrusted: it gets no origin, no scripts, no forms and no network, only its styles and inline images.
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


@router.post(
    "", summary="Create a generation", status_code=202, responses={200: {"model": GenerationOut}, **SUBMIT_PROBLEMS}
)
async def create_generation(
    body: GenerationIn, caller: AnyCaller, database: DatabaseDep, submitter: SubmitterDep
) -> GenerationOut:
    """Submit a job that generates an HTML page.

    The status is 202 while the job is queued or running. It is 200 if the job has finished, because the request waited
    for it (`Prefer: wait=N`) or repeated an earlier one (`Idempotency-Key`).
    """

    check_may_prompt(caller, body)

    def add(session: Session, job: Job) -> None:
        _add(session, [job], [body], place="")

    def find(job_id: uuid.UUID) -> GenerationOut:
        return GenerationOut.of_row(_find(database, caller.owner, job_id))

    return await submitter.submit_one(caller, JobKind.GENERATION, body, add, find, router.prefix)


@router.post(
    "/batch",
    summary="Create a batch of generations",
    status_code=202,
    responses={200: {"model": GenerationBatchSubmitted}, **SUBMIT_PROBLEMS},
)
async def create_generation_batch(
    body: GenerationBatchIn, caller: AnyCaller, database: DatabaseDep, submitter: SubmitterDep
) -> GenerationBatchSubmitted:
    """Submit up to 10,000 generations at once. If one of them is invalid, none is submitted."""

    for position, item in enumerate(body.items):
        check_may_prompt(caller, item, f"items[{position}].")

    def add(session: Session, new_jobs: Sequence[Job]) -> None:
        _add(session, new_jobs, body.items, place="items[{}].")

    batch_id, job_ids = await submitter.submit_batch(caller, JobKind.GENERATION, body, len(body.items), add)
    batch = await run_in_threadpool(_find_batch, database, caller.owner, batch_id)
    submitter.set_location(f"{router.prefix}/batch/{batch_id}", final=batch.final)
    return GenerationBatchSubmitted(id=batch.id, counts=batch.counts, job_ids=job_ids)


@router.get("", summary="List generations")
def list_generations(
    caller: AnyCaller, database: DatabaseDep, query: Annotated[GenerationsQuery, Query()]
) -> PageOut[GenerationOut]:
    """List the caller's generations, newest first. An admin key lists everyone's."""
    with database.read() as session:
        page = generations.page(
            session,
            owner=caller.owner,
            status=query.status,
            batch_id=query.batch_id,
            named=query.named(),
            limit=query.limit,
            after=query.after,
        )
    return PageOut.of(page.map(GenerationOut.of_row))


@router.get("/batch/{batch_id}", summary="Get a batch of generations", responses=document_problems(404))
def get_generation_batch(batch_id: uuid.UUID, caller: AnyCaller, database: DatabaseDep) -> GenerationBatchOut:
    """Get the number of jobs in a batch by status. `GET /v1/generations?batch_id=` lists the generations."""
    return _find_batch(database, caller.owner, batch_id)


@router.get("/{job_id:generation_id}", summary="Get a generation", responses=document_problems(404))
def get_generation(job_id: uuid.UUID, caller: AnyCaller, database: DatabaseDep, queued: QueuedJobsDep) -> GenerationOut:
    """Get a generation with its completion."""
    return queued.explain(GenerationOut.of_row(_find(database, caller.owner, job_id)))


@router.get(
    "/{job_id}/html",
    summary="Get the page of a generation",
    response_class=Response,
    responses={200: {"content": {"text/html": {}}}, **document_problems(404, 409)},
)
def get_generation_html(job_id: uuid.UUID, caller: AnyCaller, database: DatabaseDep) -> Response:
    """Get the generated page as HTML, to show in a browser.

    The page is untrusted. It is served in a sandbox without scripts and network access, and its `<link>` and `<iframe>`
    elements are removed. The field `page` of the generation has the unchanged text. A cancelled job has the part of the
    page that was generated until then.
    """
    row = _find(database, caller.owner, job_id)
    generation = row.generation
    if generation.completion is None:
        if JobStatus(row.job.status).final:
            raise Problem(409, ProblemType.NO_COMPLETION, f"the job has no completion; its status is {row.job.status}")
        raise Problem(409, ProblemType.NOT_FINISHED, f"the job has not finished; its status is {row.job.status}")
    page = without_connecting(extract_page(generation.completion, generation.extract))
    return Response(page, media_type="text/html", headers=PAGE_HEADERS)


def _add(session: Session, new_jobs: Sequence[Job], items: Sequence[GenerationIn], place: str) -> None:
    """Insert a generation for each job. `place` is before the field's name in an error; `{}` is the item's position."""
    found = models.by_reference(session, {item.model for item in items})
    for position, item in enumerate(items):
        if item.model not in found:
            raise unknown_model(session, item.model, f"{place.format(position)}model")
        refuse_load_options(session, item, found[item.model], f"{place.format(position)}load")
    templates: dict[tuple[str, str | None], dict[str, str | None]] = {}
    # Sorted, so that two batches never wait for each other's new templates.
    for position, item in sorted(enumerate(items), key=lambda pair: pair[1].template or ""):
        if (item.model, item.template) not in templates:
            columns = template_columns(session, item.template, found[item.model], f"{place.format(position)}template")
            templates[item.model, item.template] = columns
    rows = [
        Generation(
            job_id=job.id,
            model_id=found[item.model].id,
            load=item.load_options(),
            **templates[item.model, item.template],
            **variable_columns(item),
            **{name: getattr(item, name) for name in _COLUMNS},
        )
        for job, item in zip(new_jobs, items, strict=True)
    ]
    generations.add(session, new_jobs, rows)


_COLUMNS = [name for name in GenerationIn.model_fields if name not in ("model", "load", *PromptIn.model_fields)]


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
