"""Queries about merges: an adapter that is to become one model with its base."""

import uuid
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.tables.jobs import Job
from db.tables.merges import Merge
from db.tables.models import Model


@dataclass(frozen=True)
class MergeRow:
    merge: Merge
    adapter: Model


def add(session: Session, job: Job, model_id: uuid.UUID, name: str) -> None:
    """Store a job that is to merge the adapter `model_id` into its base, as the model `name`."""
    session.add(job)
    session.flush()
    session.add(Merge(job_id=job.id, model_id=model_id, name=name))


def get(session: Session, job_id: uuid.UUID) -> MergeRow:
    row = session.execute(
        select(Merge, Model).join(Model, Model.id == Merge.model_id).where(Merge.job_id == job_id)
    ).one()
    return MergeRow(*row)
