"""What jobs of every kind are called: their own name, that of their model and that of their dataset."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, false, null, or_, select, union_all
from sqlalchemy.orm import Session

from db.queries import models
from db.queries.references import as_id
from db.tables.base import Table
from db.tables.datasets import Dataset
from db.tables.jobs import Job
from db.tables.mixins import JobRequest
from db.tables.models import Model
from db.vocabulary import JobKind


@dataclass(frozen=True)
class JobNames:
    """A job's own name, which is that of its result model if it makes one, and the names of what it uses."""

    name: str | None = None
    model: str | None = None
    dataset: str | None = None


@dataclass(frozen=True)
class Named:
    """Which jobs a list selects: those with this name, model and dataset. The last two are names or ids. None: all."""

    name: str | None = None
    model: str | None = None
    dataset: str | None = None

    def __bool__(self) -> bool:
        return self != Named()


def tables(kind: JobKind | None = None) -> dict[JobKind, Any]:
    """Return the tables of requests by kind of job; of one kind, or of all with None."""
    found = {mapper.class_.__tablename__: mapper.class_ for mapper in Table.registry.mappers}
    requests = {name: table for name, table in found.items() if issubclass(table, JobRequest)}
    return {one: requests[f"{one}s"] for one in JobKind if f"{one}s" in requests and kind in (None, one)}


def of_jobs(session: Session, jobs: Iterable[Job]) -> Mapping[uuid.UUID, JobNames]:
    """Return the names of these jobs by id, with one query for each kind among them."""
    ids: dict[JobKind, list[uuid.UUID]] = defaultdict(list)
    for job in jobs:
        ids[JobKind(job.kind)].append(job.id)
    names: dict[uuid.UUID, JobNames] = defaultdict(JobNames)
    for kind, table in tables().items():
        if ids[kind]:
            rows = session.execute(_with_names(table).where(table.job_id.in_(ids[kind])))
            names |= {job_id: JobNames(name, model, dataset) for job_id, name, model, dataset in rows}
    return names


def find(session: Session, reference: str, *, kind: JobKind | None, owner: uuid.UUID | None) -> uuid.UUID | None:
    """Return the id of the job that `reference` is the id of, else of the latest job with this name, or None.

    Only jobs of this kind are found by name, and only those of the API key `owner`; None stands for all of them. A job
    that is found by its id may have another kind and owner: the query for the job itself tells.
    """
    key = as_id(reference)
    if key is not None and session.get(Job, key) is not None:
        return key
    latest: list[uuid.UUID] = []
    for table in tables(kind).values():
        if hasattr(table, "name"):
            statement = select(table.job_id).where(table.name == reference)
            if owner is not None:
                statement = statement.join(Job, Job.id == table.job_id).where(Job.api_key_id == owner)
            latest += session.scalars(statement.order_by(table.job_id.desc()).limit(1))
    return max(latest, default=None)


def selection(session: Session, table: Any, named: Named) -> list[ColumnElement[bool]]:
    """Return the conditions on the table of a kind's requests that select the jobs of `named`."""
    conditions: list[ColumnElement[bool]] = []
    if named.name is not None:
        conditions.append(table.name == named.name if hasattr(table, "name") else false())
    if named.model is not None:
        conditions.append(_uses_model(session, table, named.model))
    if named.dataset is not None:
        conditions.append(_uses_dataset(session, table, named.dataset))
    return conditions


def latest_ids(
    session: Session,
    named: Named,
    conditions: Sequence[ColumnElement[bool]],
    *,
    kind: JobKind | None,
    limit: int,
    after: uuid.UUID | None,
) -> Select[tuple[uuid.UUID]]:
    """Return the query of the ids of the latest jobs of `named`, up to `limit` of each kind; `conditions` are on `Job`.

    Each kind is read by an index of its own table, newest first: the cost does not grow with the number of jobs.
    """
    branches = []
    for table in tables(kind).values():
        wanted = [*selection(session, table, named), *conditions]
        if after is not None:
            wanted.append(table.job_id < after)
        branch = select(table.job_id).join(Job, Job.id == table.job_id).where(*wanted)
        branches.append(select(branch.order_by(table.job_id.desc()).limit(limit).subquery().c.job_id))
    return select(union_all(*branches).subquery().c.job_id)


def _with_names(table: Any) -> Select[Any]:
    """Select a job's id, its name, its model's and its dataset's, from the table of its kind."""
    name = table.name if hasattr(table, "name") else null()
    # an evaluation has the name itself, since a baseline is no registered model
    model = table.model_name if hasattr(table, "model_name") else Model.name if hasattr(table, "model_id") else null()
    dataset = Dataset.name if hasattr(table, "dataset_id") else null()
    statement = select(table.job_id, name, model, dataset).select_from(table)
    if model is Model.name:
        statement = statement.outerjoin(Model, Model.id == table.model_id)
    if dataset is Dataset.name:
        statement = statement.outerjoin(Dataset, Dataset.id == table.dataset_id)
    return statement


def _uses_model(session: Session, table: Any, reference: str) -> ColumnElement[bool]:
    model = models.find(session, reference)
    if hasattr(table, "model_name"):
        return table.model_name == (model.name if model else reference)  # type: ignore[no-any-return]
    if model is None or not hasattr(table, "model_id"):
        return false()
    return table.model_id == model.id  # type: ignore[no-any-return]


def _uses_dataset(session: Session, table: Any, reference: str) -> ColumnElement[bool]:
    if not hasattr(table, "dataset_id"):
        return false()
    # with the deleted ones: their jobs are still there
    known = session.scalars(select(Dataset.id).where(or_(Dataset.name == reference, Dataset.id == as_id(reference))))
    return table.dataset_id.in_(known.all())  # type: ignore[no-any-return]
