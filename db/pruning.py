"""Deletion of old jobs with all their rows, in short transactions."""

import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, delete, exists, func, select
from sqlalchemy.orm import Session

from db.session import Database, serialize
from db.tables.base import Table
from db.tables.jobs import IS_LIVE, Job
from db.tables.models import Model
from db.vocabulary import JobKind

JOBS_AT_ONCE = 500
ROWS_AT_ONCE = 2000
"""The most jobs or rows that one transaction deletes. On SQLite it holds the only write lock, so it must be short."""


@dataclass(frozen=True)
class PrunableJob:
    job_id: uuid.UUID
    kind: JobKind


def prunable_jobs(database: Database, kinds: Collection[JobKind], before: datetime) -> Iterator[list[PrunableJob]]:
    """Yield the jobs of these kinds that finished before the given time, oldest first, in lists of up to 500.

    A job whose result model is registered is left out, since the model refers to it. A batch is left out as long as
    one of its jobs is not finished by then. The caller may delete each list before it takes the next.
    """
    after: uuid.UUID | None = None
    while True:
        with database.read() as session:
            rows = _page(session, kinds, before, after)
            kept = _batches_to_keep(session, {batch_id for _, _, batch_id in rows if batch_id}, before)
        if not rows:
            return
        yield [PrunableJob(job_id, JobKind(kind)) for job_id, kind, batch_id in rows if batch_id not in kept]
        after = rows[-1][0]


def delete_jobs(database: Database, jobs: Iterable[PrunableJob]) -> None:
    """Delete jobs with all the rows that belong to them, in several short transactions.

    The request is deleted first, so a job that is deleted in part is not shown as a job of its kind. The job itself is
    deleted last: if deletion is interrupted, the job is still prunable, and the next call deletes the rest.
    """
    for kind, group in groupby(sorted(jobs, key=_kind), key=_kind):
        # a generation is two rows; a job of another kind may have as many rows as its dataset
        at_once = JOBS_AT_ONCE if kind == JobKind.GENERATION else 1
        job_ids = [job.job_id for job in group]
        for start in range(0, len(job_ids), at_once):
            _delete(database, job_ids[start : start + at_once])


def _kind(job: PrunableJob) -> JobKind:
    return job.kind


def _page(
    session: Session, kinds: Collection[JobKind], before: datetime, after: uuid.UUID | None
) -> Sequence[tuple[uuid.UUID, JobKind, uuid.UUID | None]]:
    statement = select(Job.id, Job.kind, Job.batch_id).where(
        # an id starts with the time of submission, so this bound skips all newer jobs by the index
        Job.id < uuid.UUID(int=int(before.timestamp() * 1000) << 80),
        Job.kind.in_(kinds),
        _finished(before),
        ~exists().where(Model.job_id == Job.id),
    )
    if after is not None:
        statement = statement.where(Job.id > after)
    return [(row[0], row[1], row[2]) for row in session.execute(statement.order_by(Job.id).limit(JOBS_AT_ONCE))]


def _batches_to_keep(session: Session, batch_ids: Collection[uuid.UUID], before: datetime) -> set[uuid.UUID | None]:
    statement = select(Job.batch_id).where(Job.batch_id.in_(batch_ids), ~_finished(before)).distinct()
    return set(session.scalars(statement))


def _finished(before: datetime) -> ColumnElement[bool]:
    return ~IS_LIVE & (func.coalesce(Job.finished_at, Job.created_at) < before)


def tables_of_jobs() -> list[sa.Table]:
    """Return every table whose rows belong to a job: it has a column `job_id` that is never null.

    `models.job_id` may be null, so `models` is not one of them: a result model outlives the deletion of old jobs.
    """
    tables = Table.metadata.sorted_tables
    return [table for table in tables if "job_id" in table.columns and not table.columns["job_id"].nullable]


def _delete(database: Database, job_ids: list[uuid.UUID]) -> None:
    requests, long_tables, short_tables = _by_size(tables_of_jobs())
    _delete_all(database, requests, job_ids)
    for table, number in long_tables:
        while _delete_some(database, table, number, job_ids):
            pass
    _delete_all(database, short_tables, job_ids, and_jobs=True)


def _by_size(
    tables: Iterable[sa.Table],
) -> tuple[list[sa.Table], list[tuple[sa.Table, sa.Column[Any]]], list[sa.Table]]:
    """Split tables into those with one row per job, those with numbered rows, and others, with few rows per job."""
    requests, long_tables, short_tables = [], [], []
    for table in tables:
        job_id, *others = table.primary_key.columns
        if job_id.name == "job_id" and not others:
            requests.append(table)
        elif job_id.name == "job_id" and isinstance(others[0].type, sa.Integer):
            long_tables.append((table, others[0]))
        else:
            short_tables.append(table)
    return requests, long_tables, short_tables


def _delete_all(
    database: Database, tables: Iterable[sa.Table], job_ids: list[uuid.UUID], *, and_jobs: bool = False
) -> None:
    with database.write() as session:
        serialize(session, "prune")  # or two processes that delete the same rows could deadlock
        for table in tables:
            session.execute(delete(table).where(table.columns["job_id"].in_(job_ids)))
        if and_jobs:
            session.execute(delete(Job).where(Job.id.in_(job_ids)))


def _delete_some(database: Database, table: sa.Table, number: sa.Column[Any], job_ids: list[uuid.UUID]) -> bool:
    """Delete the rows with the lowest numbers. Return False if there were none."""
    of_jobs = table.columns["job_id"].in_(job_ids)
    with database.write() as session:
        serialize(session, "prune")
        first = select(number).where(of_jobs).order_by(number).limit(ROWS_AT_ONCE).subquery()
        last = session.scalars(select(func.max(first.c[0]))).one()
        if last is not None:
            session.execute(delete(table).where(of_jobs, number <= last))
    return last is not None
