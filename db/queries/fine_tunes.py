"""Queries about fine-tunes: their requests, the measured steps, and the checkpoint to resume from."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from db.queries.job_queries import JobQueries, JobRow
from db.session import now
from db.tables.fine_tunes import FineTune, FineTuneStep

FineTuneRow = JobRow[FineTune]

_queries = JobQueries(FineTune)
get, page = _queries.get, _queries.page


def add_step(session: Session, job_id: uuid.UUID, step: int, **values: float | None) -> None:
    """Store the measurements of one step.

    `values` are columns of `FineTuneStep`. They replace those that an earlier attempt stored for the step; a value of
    None leaves the stored one unchanged.
    """
    row = session.get(FineTuneStep, (job_id, step))
    if row is None:
        row = FineTuneStep(job_id=job_id, step=step, created_at=now(session))
        session.add(row)
    for name, value in values.items():
        if value is not None:
            setattr(row, name, value)
    session.flush()


def steps(session: Session, job_id: uuid.UUID, *, after: int, limit: int | None) -> Sequence[FineTuneStep]:
    """Return the measured steps after step number `after`, in order; at most `limit`, or all with None."""
    return session.scalars(
        select(FineTuneStep)
        .where(FineTuneStep.job_id == job_id, FineTuneStep.step > after)
        .order_by(FineTuneStep.step)
        .limit(limit)
    ).all()


def set_checkpoint(session: Session, job_id: uuid.UUID, path: str, step: int) -> None:
    """Set the checkpoint that the next attempt resumes from: its folder in the artifact store, and its step."""
    statement = update(FineTune).where(FineTune.job_id == job_id).values(checkpoint=path, checkpoint_step=step)
    session.execute(statement.execution_options(synchronize_session=False))


def set_training(session: Session, job_id: uuid.UUID, training: dict[str, Any]) -> None:
    """Replace the training options that this and later attempts use."""
    statement = update(FineTune).where(FineTune.job_id == job_id).values(training=training)
    session.execute(statement.execution_options(synchronize_session=False))


def forget_steps_after(session: Session, job_id: uuid.UUID, step: int) -> None:
    """Delete the measurements of steps after `step`, the last checkpoint, since the next attempt repeats them."""
    session.execute(delete(FineTuneStep).where(FineTuneStep.job_id == job_id, FineTuneStep.step > step))
