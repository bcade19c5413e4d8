"""Which jobs are over for so long that they may go, and their deletion, a few rows at a time."""

import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, select
from sqlalchemy.orm import Session

from db.session import Database, serialize
from db.tables.evaluations import Evaluation, EvaluationScore, Prediction
from db.tables.fine_tunes import FineTune, FineTuneStep
from db.tables.generations import Generation
from db.tables.jobs import IS_QUEUED, IS_RUNNING, Job, JobEvent
from db.tables.merges import Merge
from db.tables.models import Model
from db.tables.quantizations import Quantization, QuantizationVariant, QuantizedModule
from db.vocabulary import JobKind

JOBS_AT_ONCE = 500
ROWS_AT_ONCE = 2000
"""What one transaction deletes: it holds SQLite's only lock, and others' submits wait for it, for milliseconds."""

_ASKED: tuple[Any, ...] = (Generation, FineTune, Merge, Evaluation, Quantization)
_LONG: tuple[tuple[Any, Any], ...] = ((Prediction, Prediction.row), (FineTuneStep, FineTuneStep.step))
_SHORT: tuple[Any, ...] = (EvaluationScore, QuantizedModule, QuantizationVariant, JobEvent)


@dataclass(frozen=True)
class Condemned:
    """A job that may go."""

    job_id: uuid.UUID
    kind: JobKind


def condemned(database: Database, kinds: Collection[JobKind], before: datetime) -> Iterator[list[Condemned]]:
    """Jobs of these kinds that were over before the moment, oldest first, up to 500 at once.

    A job whose model is registered is none of them, as the model names it; nor is one of a batch that is not all over
    by then. They may be deleted as they come.
    """
    after: uuid.UUID | None = None
    while True:
        with database.read() as session:
            found = _page(session, kinds, before, after)
            kept = _batches_kept(session, {batch_id for _, _, batch_id in found if batch_id}, before)
        if not found:
            return
        yield [Condemned(job_id, JobKind(kind)) for job_id, kind, batch_id in found if batch_id not in kept]
        after = found[-1][0]


def delete_jobs(database: Database, jobs: Iterable[Condemned]) -> None:
    """Delete the jobs with all that belongs to them, in short transactions.

    What is asked for by its job's id goes first and the job itself last: interrupted in between, the job is still
    condemned, and the next call for it does the rest.
    """
    for kind, group in groupby(sorted(jobs, key=_kind), key=_kind):
        # a generation is two rows, and a job of any other kind may be as many as a dataset has
        at_once = JOBS_AT_ONCE if kind == JobKind.GENERATION else 1
        job_ids = [job.job_id for job in group]
        for start in range(0, len(job_ids), at_once):
            _delete(database, job_ids[start : start + at_once])


def _kind(job: Condemned) -> JobKind:
    return job.kind


def _page(
    session: Session, kinds: Collection[JobKind], before: datetime, after: uuid.UUID | None
) -> Sequence[tuple[uuid.UUID, JobKind, uuid.UUID | None]]:
    # Ids begin with the time of submission, which comes before the end: nothing newer is looked at.
    statement = select(Job.id, Job.kind, Job.batch_id).where(
        Job.id < uuid.UUID(int=int(before.timestamp() * 1000) << 80),
        Job.kind.in_(kinds),
        _over(before),
        ~exists().where(Model.job_id == Job.id),
    )
    if after is not None:
        statement = statement.where(Job.id > after)
    return [(row[0], row[1], row[2]) for row in session.execute(statement.order_by(Job.id).limit(JOBS_AT_ONCE))]


def _batches_kept(session: Session, batch_ids: Collection[uuid.UUID], before: datetime) -> set[uuid.UUID | None]:
    statement = select(Job.batch_id).where(Job.batch_id.in_(batch_ids), ~_over(before)).distinct()
    return set(session.scalars(statement))


def _over(before: datetime) -> ColumnElement[bool]:
    return ~(IS_QUEUED | IS_RUNNING) & (func.coalesce(Job.finished_at, Job.created_at) < before)


def _delete(database: Database, job_ids: list[uuid.UUID]) -> None:
    with database.write() as session:
        serialize(session, "prune")  # two that delete the same rows in different orders would end in a deadlock
        for table in _ASKED:
            session.execute(delete(table).where(table.job_id.in_(job_ids)))
    for table, number in _LONG:
        while _delete_some(database, table, number, job_ids):
            pass
    with database.write() as session:
        serialize(session, "prune")
        for table in _SHORT:
            session.execute(delete(table).where(table.job_id.in_(job_ids)))
        session.execute(delete(Job).where(Job.id.in_(job_ids)))


def _delete_some(database: Database, table: Any, number: Any, job_ids: list[uuid.UUID]) -> bool:
    """Delete the rows with the lowest numbers. Returns whether there were any."""
    with database.write() as session:
        serialize(session, "prune")
        first = select(number).where(table.job_id.in_(job_ids)).order_by(number).limit(ROWS_AT_ONCE).subquery()
        last = session.scalars(select(func.max(first.c[0]))).one()
        if last is not None:
            session.execute(delete(table).where(table.job_id.in_(job_ids), number <= last))
    return last is not None
