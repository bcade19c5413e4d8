"""Queries about datasets. One that is deleted is found by none of them."""

import uuid

from sqlalchemy import exists, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.pages import Page, fetch_page
from db.session import now, serialize
from db.tables.datasets import Dataset
from db.tables.evaluations import Evaluation
from db.tables.fine_tunes import FineTune
from db.tables.jobs import IS_QUEUED, IS_RUNNING, Job
from db.tables.quantizations import Quantization
from db.vocabulary import Split

ARTIFACTS = "datasets"
"""The folder in the artifact store that has the files of all."""


def artifact(sha256: str) -> str:
    """Where a dataset's files are in the artifact store: a folder with `train.parquet` and `test.parquet`."""
    return f"{ARTIFACTS}/{sha256}"


def split_file(sha256: str, split: Split) -> str:
    return f"{artifact(sha256)}/{split.value}.parquet"


def add(session: Session, dataset: Dataset) -> bool:
    """Store a dataset's row, created now; False if its name is taken."""
    dataset.created_at = now(session)
    try:
        with session.begin_nested():
            session.add(dataset)
    except IntegrityError:
        return False
    return True


def get(session: Session, dataset_id: uuid.UUID) -> Dataset | None:
    return session.scalars(select(Dataset).where(Dataset.id == dataset_id, _LIVE)).one_or_none()


def hold(session: Session, dataset_id: uuid.UUID) -> Dataset | None:
    """The dataset, which nobody else can delete or hold until this transaction ends.

    Who submits a job that uses it takes it this way: its deletion then either sees the job, or comes before it.
    """
    return session.scalars(select(Dataset).where(Dataset.id == dataset_id, _LIVE).with_for_update()).one_or_none()


def get_by_name(session: Session, name: str) -> Dataset | None:
    return session.scalars(select(Dataset).where(Dataset.name == name, _LIVE)).one_or_none()


def page(session: Session, *, limit: int, after: uuid.UUID | None) -> Page[Dataset]:
    return fetch_page(session, select(Dataset).where(_LIVE), Dataset.id, limit=limit, after=after)


def in_use(session: Session, dataset_id: uuid.UUID) -> bool:
    """Whether a queued or running job uses it."""
    uses = (
        exists().where(table.dataset_id == dataset_id, table.job_id == Job.id, IS_QUEUED | IS_RUNNING)
        for table in (FineTune, Evaluation, Quantization)
    )
    return session.scalars(select(or_(*uses))).one()


def delete(session: Session, dataset: Dataset) -> None:
    """Hide a dataset for good. Its row stays, as models may have been made from it."""
    dataset.deleted_at = now(session)


def hold_content(session: Session, sha256: str) -> None:
    """Taken by who puts or deletes the files of some content: two at once would undo each other's work.

    On SQLite others can't write meanwhile; where uploads are large and many, PostgreSQL is the better choice anyway.
    """
    serialize(session, f"dataset {sha256}")


def contents(session: Session) -> set[str]:
    """The content of every dataset."""
    return set(session.scalars(select(Dataset.sha256).where(_LIVE)))


def any_has_content(session: Session, sha256: str) -> bool:
    """Whether some dataset has this content, and so its files in the artifact store."""
    return session.scalars(select(exists().where(Dataset.sha256 == sha256, _LIVE))).one()


_LIVE = Dataset.deleted_at.is_(None)
