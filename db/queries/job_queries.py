"""Queries that are the same for every kind of job with a base model and a dataset."""

import uuid
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.pages import Page, fetch_page
from db.queries.job_names import Named, selection
from db.tables.base import Table
from db.tables.datasets import Dataset
from db.tables.jobs import Job
from db.tables.models import Model
from db.vocabulary import JobStatus

Request = TypeVar("Request", bound=Table)


@dataclass(frozen=True)
class JobRow(Generic[Request]):
    """A job, its request, and the base model and dataset that the request names."""

    job: Job
    request: Request
    model: Model
    dataset: Dataset


class JobQueries(Generic[Request]):
    """Queries for one kind of job. `table` holds its requests, with `job_id`, `model_id` and `dataset_id`."""

    def __init__(self, table: type[Request]) -> None:
        self._table: Any = table

    def get(self, session: Session, job_id: uuid.UUID, *, owner: uuid.UUID | None) -> JobRow[Request] | None:
        """Return the job, or None if no job of this kind has the id or it belongs to another API key than `owner`.

        With `owner` None the job may belong to any key.
        """
        statement = self._rows(owner).where(self._table.job_id == job_id)
        row = session.execute(statement).one_or_none()
        return None if row is None else JobRow(*row)

    def page(
        self,
        session: Session,
        *,
        owner: uuid.UUID | None,
        status: JobStatus | None,
        named: Named,
        limit: int,
        after: uuid.UUID | None,
    ) -> Page[JobRow[Request]]:
        """Return a page of jobs, newest first. `owner`, `status` and `named` select jobs; None selects all."""
        statement = self._rows(owner).where(*selection(session, self._table, named))
        if status is not None:
            statement = statement.where(Job.status == status)
        return fetch_page(session, statement, Job.id, limit=limit, after=after).map(lambda row: JobRow(*row))

    def _rows(self, owner: uuid.UUID | None) -> Any:
        statement = (
            select(Job, self._table, Model, Dataset)
            .join(self._table, self._table.job_id == Job.id)
            .join(Model, Model.id == self._table.model_id)
            .join(Dataset, Dataset.id == self._table.dataset_id)
        )
        return statement if owner is None else statement.where(Job.api_key_id == owner)
