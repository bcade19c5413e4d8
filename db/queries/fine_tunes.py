"""Queries about fine-tunes: what was asked, what its steps measured, where it can go on."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session, aliased

from db.pages import Page, fetch_page
from db.session import now
from db.tables.datasets import Dataset
from db.tables.fine_tunes import FineTune, FineTuneStep
from db.tables.jobs import Job
from db.tables.models import Model
from db.vocabulary import JobStatus

Made = aliased(Model)


@dataclass(frozen=True)
class FineTuneRow:
    """A fine-tune with what one HTTP representation shows; `made` is the adapter, once the job has succeeded."""

    job: Job
    fine_tune: FineTune
    base: Model
    dataset: Dataset
    made: Model | None


def add(session: Session, job: Job, fine_tune: FineTune) -> None:
    session.add(job)
    session.flush()
    session.add(fine_tune)
    session.flush()


def get(session: Session, job_id: uuid.UUID, *, owner: uuid.UUID | None) -> FineTuneRow | None:
    """The fine-tune, if its job is `owner`'s; None as owner means anybody's."""
    statement = _joined().where(FineTune.job_id == job_id)
    if owner is not None:
        statement = statement.where(Job.api_key_id == owner)
    row = session.execute(statement).one_or_none()
    return None if row is None else FineTuneRow(*row)


def page(
    session: Session, *, owner: uuid.UUID | None, status: JobStatus | None, limit: int, after: uuid.UUID | None
) -> Page[FineTuneRow]:
    statement = _joined()
    if owner is not None:
        statement = statement.where(Job.api_key_id == owner)
    if status is not None:
        statement = statement.where(Job.status == status)
    return fetch_page(session, statement, Job.id, limit=limit, after=after).map(lambda row: FineTuneRow(*row))


def _joined() -> Any:
    return (
        select(Job, FineTune, Model, Dataset, Made)
        .join(FineTune, FineTune.job_id == Job.id)
        .join(Model, Model.id == FineTune.model_id)
        .join(Dataset, Dataset.id == FineTune.dataset_id)
        .outerjoin(Made, Made.job_id == Job.id)
    )


def add_step(session: Session, job_id: uuid.UUID, step: int, **values: float | None) -> None:
    """Store what a step measured, over what an earlier attempt at the same step did. None leaves a value as it is."""
    row = session.get(FineTuneStep, (job_id, step))
    if row is None:
        row = FineTuneStep(job_id=job_id, step=step, created_at=now(session))
        session.add(row)
    for name, value in values.items():
        if value is not None:
            setattr(row, name, value)
    session.flush()


def steps(session: Session, job_id: uuid.UUID, *, after: int, limit: int | None) -> Sequence[FineTuneStep]:
    """The first `limit` measured steps (None: all) that come after the step `after`, in order."""
    return session.scalars(
        select(FineTuneStep)
        .where(FineTuneStep.job_id == job_id, FineTuneStep.step > after)
        .order_by(FineTuneStep.step)
        .limit(limit)
    ).all()


def set_checkpoint(session: Session, job_id: uuid.UUID, path: str, step: int) -> None:
    statement = update(FineTune).where(FineTune.job_id == job_id).values(checkpoint=path, checkpoint_step=step)
    session.execute(statement.execution_options(synchronize_session=False))


def set_training(session: Session, job_id: uuid.UUID, training: dict[str, Any]) -> None:
    statement = update(FineTune).where(FineTune.job_id == job_id).values(training=training)
    session.execute(statement.execution_options(synchronize_session=False))


def forget_steps_after(session: Session, job_id: uuid.UUID, step: int) -> None:
    """Delete what an attempt that is lost measured after the checkpoint at `step`: those steps are done again."""
    session.execute(delete(FineTuneStep).where(FineTuneStep.job_id == job_id, FineTuneStep.step > step))
