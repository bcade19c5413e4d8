"""Queries about quantizations: their requests, the error of each quantized module, and the report's variants."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.queries.job_queries import JobQueries, JobRow
from db.tables.quantizations import Quantization, QuantizationVariant, QuantizedModule

QuantizationRow = JobRow[Quantization]

_queries = JobQueries(Quantization)
get, page = _queries.get, _queries.page


def forget_measured(session: Session, job_id: uuid.UUID) -> None:
    """Delete the measurements of earlier attempts, since each attempt starts from the beginning."""
    for table in (QuantizedModule, QuantizationVariant):
        session.execute(delete(table).where(table.job_id == job_id))


def add_module(session: Session, job_id: uuid.UUID, module: Mapping[str, Any]) -> None:
    """Store the quantization error of one module, by the columns of `QuantizedModule`; replace an earlier one."""
    session.merge(QuantizedModule(job_id=job_id, **module))
    session.flush()


def add_variant(session: Session, job_id: uuid.UUID, variant: Mapping[str, Any]) -> None:
    """Store the measurements of one variant, by the columns of `QuantizationVariant`; replace earlier ones."""
    session.merge(QuantizationVariant(job_id=job_id, **variant))
    session.flush()


def modules(session: Session, job_id: uuid.UUID) -> Sequence[QuantizedModule]:
    """Return the quantized modules of a job in the order of the model's layers."""
    statement = select(QuantizedModule).where(QuantizedModule.job_id == job_id)
    return session.scalars(statement.order_by(QuantizedModule.layer, QuantizedModule.module)).all()


def variants(session: Session, job_id: uuid.UUID) -> Sequence[QuantizationVariant]:
    """Return the measured variants of a job, in no particular order."""
    return session.scalars(select(QuantizationVariant).where(QuantizationVariant.job_id == job_id)).all()
