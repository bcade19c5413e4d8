"""Queries about datasets. Only `get_with_deleted` returns a deleted dataset."""

import uuid
from collections.abc import Sequence

from sqlalchemy import exists, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.pages import Page, fetch_page
from db.queries import references
from db.session import now, serialize
from db.tables.datasets import Dataset
from db.tables.jobs import IS_LIVE, Job
from db.tables.mixins import UsesDataset
from db.vocabulary import Split

ARTIFACTS = "datasets"
"""The folder in the artifact store that holds the files of all datasets."""


def artifact(sha256: str) -> str:
    """Return a dataset's folder in the artifact store, which holds `train.parquet` and `test.parquet`."""
    return f"{ARTIFACTS}/{sha256}"


def split_file(sha256: str, split: Split) -> str:
    """Return the path of a split's rows in the artifact store."""
    return f"{artifact(sha256)}/{split.value}.parquet"


def add(session: Session, dataset: Dataset) -> bool:
    """Insert a dataset and set its creation time. Return False, and insert nothing, if its name is taken."""
    dataset.created_at = now(session)
    try:
        with session.begin_nested():
            session.add(dataset)
    except IntegrityError:
        return False
    return True


def get(session: Session, dataset_id: uuid.UUID) -> Dataset | None:
    """Return the dataset, or None if there is no such dataset."""
    return session.scalars(select(Dataset).where(Dataset.id == dataset_id, _LIVE)).one_or_none()


def get_with_deleted(session: Session, dataset_id: uuid.UUID) -> Dataset | None:
    """Return the dataset, also if it is deleted: models that were trained on it still refer to it."""
    return session.get(Dataset, dataset_id)


def lock(session: Session, dataset_id: uuid.UUID) -> Dataset | None:
    """Return the dataset and lock its row until the transaction ends, or return None if there is no such dataset.

    To submit a job that uses a dataset, and to delete a dataset, lock it first: then no dataset is deleted between the
    check that it exists and the insertion of the job.
    """
    return session.scalars(select(Dataset).where(Dataset.id == dataset_id, _LIVE).with_for_update()).one_or_none()


def get_by_name(session: Session, name: str) -> Dataset | None:
    """Return the dataset with this name, or None if there is no such dataset."""
    return session.scalars(select(Dataset).where(Dataset.name == name, _LIVE)).one_or_none()


def find(session: Session, reference: str) -> Dataset | None:
    """Return the dataset with this id or name, or None if there is no such dataset."""
    return references.find(session, Dataset, reference, _LIVE)


def all_names(session: Session, limit: int) -> Sequence[str]:
    """Return the names of all datasets, sorted; at most `limit`."""
    return session.scalars(select(Dataset.name).where(_LIVE).order_by(Dataset.name).limit(limit)).all()


def page(session: Session, *, name: str | None, limit: int, after: uuid.UUID | None) -> Page[Dataset]:
    """Return a page of datasets, newest first; with a name, of the dataset that has it."""
    statement = select(Dataset).where(_LIVE)
    if name is not None:
        statement = statement.where(Dataset.name == name)
    return fetch_page(session, statement, Dataset.id, limit=limit, after=after)


def in_use(session: Session, dataset_id: uuid.UUID) -> bool:
    """Return whether a queued or running job uses the dataset."""
    uses = (
        exists().where(table.dataset_id == dataset_id, table.job_id == Job.id, IS_LIVE)
        for table in UsesDataset.__subclasses__()
    )
    return session.scalars(select(or_(*uses))).one()


def delete(session: Session, dataset: Dataset) -> None:
    """Mark a dataset as deleted. Its row stays in the table, since models may refer to it."""
    dataset.deleted_at = now(session)


def lock_content(session: Session, sha256: str) -> None:
    """Lock the files with this hash in the artifact store until the transaction ends.

    Lock them before storing or deleting them: datasets with the same content share the files. On SQLite no other
    transaction can write meanwhile, so a large upload delays all of them.
    """
    serialize(session, f"dataset {sha256}")


def contents(session: Session) -> set[str]:
    """Return the content hashes of all datasets."""
    return set(session.scalars(select(Dataset.sha256).where(_LIVE)))


def any_has_content(session: Session, sha256: str) -> bool:
    """Return whether a dataset has this content, so that its files in the artifact store are in use."""
    return session.scalars(select(exists().where(Dataset.sha256 == sha256, _LIVE))).one()


_LIVE = Dataset.deleted_at.is_(None)
