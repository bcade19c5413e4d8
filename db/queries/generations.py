"""Queries about generations: their requests and completions."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from db.pages import Page, fetch_page
from db.queries import templates
from db.queries.job_names import Named, latest_ids
from db.tables.base import columns_of
from db.tables.generations import Generation
from db.tables.jobs import Job
from db.tables.models import Model
from db.vocabulary import JobKind, JobStatus


@dataclass(frozen=True)
class GenerationRow:
    """A generation with its job and the name of its model."""

    job: Job
    generation: Generation
    model_name: str


@dataclass(frozen=True)
class Completed:
    """The completion of a finished generation, as its worker stores it."""

    completion: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    template: str
    template_text: str
    extract: str
    engine: str
    engine_version: str


def add(session: Session, jobs: Sequence[Job], generations: Sequence[Generation]) -> None:
    """Insert jobs and their generations, all of them in two statements."""
    session.execute(insert(Job), [columns_of(job) for job in jobs])
    session.execute(insert(Generation), [columns_of(generation) for generation in generations])


def get(session: Session, job_id: uuid.UUID, *, owner: uuid.UUID | None) -> GenerationRow | None:
    """Return the generation, or None if there is no such job or it belongs to another API key than `owner`.

    With `owner` None the job may belong to any key.
    """
    statement = _joined().where(Generation.job_id == job_id)
    if owner is not None:
        statement = statement.where(Job.api_key_id == owner)
    row = session.execute(statement).one_or_none()
    return None if row is None else GenerationRow(*row)


def page(
    session: Session,
    *,
    owner: uuid.UUID | None,
    status: JobStatus | None,
    batch_id: uuid.UUID | None,
    named: Named,
    limit: int,
    after: uuid.UUID | None,
) -> Page[GenerationRow]:
    """Return a page of generations, newest first. The other arguments select jobs; None selects all."""
    wanted = ((Job.api_key_id, owner), (Job.status, status), (Job.batch_id, batch_id))
    conditions = [column == value for column, value in wanted if value is not None]
    statement = _joined().where(*conditions)
    if named:
        kind = JobKind.GENERATION
        latest = latest_ids(session, named, conditions, kind=kind, limit=limit + 1, after=after)
        statement = statement.where(Job.id.in_(latest))
    if after is not None:
        # `fetch_page` adds it for `jobs`; without it here a merge join would read all newer generations first
        statement = statement.where(Generation.job_id < after)
    return fetch_page(session, statement, Job.id, limit=limit, after=after).map(lambda row: GenerationRow(*row))


def of_jobs(session: Session, job_ids: Collection[uuid.UUID]) -> list[tuple[Generation, Model]]:
    """Return the generations of these jobs with their models, in the order of the jobs' ids."""
    rows = session.execute(
        select(Generation, Model)
        .join(Model, Model.id == Generation.model_id)
        .where(Generation.job_id.in_(job_ids))
        .order_by(Generation.job_id)
    )
    return [(generation, model) for generation, model in rows]


def store(session: Session, completed: Mapping[uuid.UUID, Completed]) -> None:
    """Store completions by job id. In the same transaction the caller ends the jobs, by `job_transitions`."""
    texts = sorted({result.template_text for result in completed.values()})  # sorted, so that no two workers deadlock
    hashes = {text: templates.store(session, text) for text in texts}
    session.execute(
        update(Generation),
        [
            {
                "job_id": job_id,
                "completion": result.completion,
                "finish_reason": result.finish_reason,
                "prompt_tokens": result.prompt_tokens,
                "completion_tokens": result.completion_tokens,
                "template": result.template,
                "template_sha256": hashes[result.template_text],
                "extract": result.extract,
                "engine": result.engine,
                "engine_version": result.engine_version,
            }
            for job_id, result in completed.items()
        ],
    )


def _joined() -> Any:
    return (
        select(Job, Generation, Model.name)
        .join(Generation, Generation.job_id == Job.id)
        # every generation has a model; but after an inner join SQLite would read by model and sort all generations
        .outerjoin(Model, Model.id == Generation.model_id)
    )
