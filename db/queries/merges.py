"""Queries about merges of an adapter into its base model."""

import uuid
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.tables.merges import Merge
from db.tables.models import Model


@dataclass(frozen=True)
class MergeRow:
    """A merge's request and the adapter that it names."""

    request: Merge
    adapter: Model


def get(session: Session, job_id: uuid.UUID) -> MergeRow:
    """Return the merge of a job; the job must be a merge."""
    row = session.execute(
        select(Merge, Model).join(Model, Model.id == Merge.model_id).where(Merge.job_id == job_id)
    ).one()
    return MergeRow(*row)
