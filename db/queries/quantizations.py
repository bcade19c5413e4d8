"""Queries about quantizations: what was asked, how each module came out, and the report."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, aliased

from db.pages import Page, fetch_page
from db.tables.datasets import Dataset
from db.tables.jobs import Job
from db.tables.models import Model
from db.tables.quantizations import Quantization, QuantizationVariant, QuantizedModule
from db.vocabulary import JobStatus

Made = aliased(Model)


@dataclass(frozen=True)
class QuantizationRow:
    """A quantization with what a list shows of it; `made` is the quantized model, once the job has succeeded."""

    job: Job
    quantization: Quantization
    model: Model
    dataset: Dataset
    made: Model | None


def add(session: Session, job: Job, quantization: Quantization) -> None:
    session.add(job)
    session.flush()
    session.add(quantization)
    session.flush()


def get(session: Session, job_id: uuid.UUID, *, owner: uuid.UUID | None) -> QuantizationRow | None:
    """The quantization, if its job is `owner`'s; None as owner means anybody's."""
    statement = _joined().where(Quantization.job_id == job_id)
    if owner is not None:
        statement = statement.where(Job.api_key_id == owner)
    row = session.execute(statement).one_or_none()
    return None if row is None else QuantizationRow(*row)


def page(
    session: Session, *, owner: uuid.UUID | None, status: JobStatus | None, limit: int, after: uuid.UUID | None
) -> Page[QuantizationRow]:
    statement = _joined()
    if owner is not None:
        statement = statement.where(Job.api_key_id == owner)
    if status is not None:
        statement = statement.where(Job.status == status)
    return fetch_page(session, statement, Job.id, limit=limit, after=after).map(lambda row: QuantizationRow(*row))


def forget_measured(session: Session, job_id: uuid.UUID) -> None:
    """Delete what an attempt that is lost has measured: the next one begins anew."""
    for table in (QuantizedModule, QuantizationVariant):
        session.execute(delete(table).where(table.job_id == job_id))


def add_module(session: Session, job_id: uuid.UUID, module: Mapping[str, Any]) -> None:
    """Store what a module came to. Storing it twice changes nothing."""
    session.merge(QuantizedModule(job_id=job_id, **module))
    session.flush()


def add_variant(session: Session, job_id: uuid.UUID, variant: Mapping[str, Any]) -> None:
    """Store what a variant came to. Storing it twice changes nothing."""
    session.merge(QuantizationVariant(job_id=job_id, **variant))
    session.flush()


def modules(session: Session, job_id: uuid.UUID) -> Sequence[QuantizedModule]:
    statement = select(QuantizedModule).where(QuantizedModule.job_id == job_id)
    return session.scalars(statement.order_by(QuantizedModule.layer, QuantizedModule.module)).all()


def variants(session: Session, job_id: uuid.UUID) -> Sequence[QuantizationVariant]:
    return session.scalars(select(QuantizationVariant).where(QuantizationVariant.job_id == job_id)).all()


def _joined() -> Any:
    return (
        select(Job, Quantization, Model, Dataset, Made)
        .join(Quantization, Quantization.job_id == Job.id)
        .join(Model, Model.id == Quantization.model_id)
        .join(Dataset, Dataset.id == Quantization.dataset_id)
        .outerjoin(Made, Made.job_id == Job.id)
    )
