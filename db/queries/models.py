"""Queries about registered models."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from db.pages import Page, fetch_page
from db.session import now, serialize
from db.tables.fine_tunes import FineTune
from db.tables.jobs import Job
from db.tables.merges import Merge
from db.tables.models import Model
from db.tables.quantizations import Quantization
from db.vocabulary import JobStatus, ModelKind, ModelSource

BUNDLED = ("starter",)
"""The models that ship with the project; migrations do not register them, `ensure_bundled` does."""


@dataclass(frozen=True)
class ModelRow:
    """A model with the name of the one that it was made from: what one HTTP representation shows."""

    model: Model
    parent_name: str | None


def add(
    session: Session,
    name: str,
    source: ModelSource,
    location: str,
    revision: str | None,
    parameters: dict[str, Any] | None = None,
) -> Model | None:
    """Register a model; None if the name is taken."""
    model = Model(name=name, source=source, location=location, revision=revision, parameters=parameters)
    return _add(session, model)


def add_result_model(
    session: Session,
    *,
    name: str,
    kind: ModelKind,
    location: str,
    parent_id: uuid.UUID,
    dataset_id: uuid.UUID | None,
    template: str | None,
    parameters: dict[str, Any] | None,
    job_id: uuid.UUID | None,
) -> Model | None:
    """Register a model that a job made, whose files are all in the artifact store; None if the name is taken."""
    model = Model(
        name=name,
        source=ModelSource.ARTIFACT,
        kind=kind,
        location=location,
        parent_id=parent_id,
        dataset_id=dataset_id,
        template=template,
        parameters=parameters,
        job_id=job_id,
    )
    return _add(session, model)


def _add(session: Session, model: Model) -> Model | None:
    model.created_at = now(session)
    try:
        with session.begin_nested():
            session.add(model)
    except IntegrityError:
        if get_by_name(session, model.name) is None:
            raise
        return None
    return model


def name_is_free(session: Session, name: str) -> bool:
    """Whether no model has the name, and no queued or running job will give it to what it makes.

    Until the transaction ends, nobody else gets an answer: who takes a name asks first, in the same transaction.
    """
    serialize(session, "model names")
    live = Job.status.in_([JobStatus.QUEUED, JobStatus.RUNNING])
    taken = (
        exists().where(Model.name == name)
        | exists().where(FineTune.name == name, FineTune.job_id == Job.id, live)
        | exists().where(Merge.name == name, Merge.job_id == Job.id, live)
        | exists().where(Quantization.name == name, Quantization.job_id == Job.id, live)
    )
    return not session.scalars(select(taken)).one()


def is_at(session: Session, location: str) -> bool:
    """Whether a model is registered that lies there in the artifact store."""
    lies_there = exists().where(Model.source == ModelSource.ARTIFACT, Model.location == location)
    return session.scalars(select(lies_there)).one()


def ensure_bundled(session: Session) -> None:
    """Register the bundled models that are not registered yet."""
    for name in BUNDLED:
        if get_by_name(session, name) is None:
            add(session, name, ModelSource.BUNDLED, name, None)


def get(session: Session, model_id: uuid.UUID) -> Model | None:
    return session.get(Model, model_id)


def get_by_name(session: Session, name: str) -> Model | None:
    return session.scalars(select(Model).where(Model.name == name)).one_or_none()


def ids_by_name(session: Session, names: Collection[str]) -> dict[str, uuid.UUID]:
    """The ids of those of the models that are registered."""
    rows = session.execute(select(Model.name, Model.id).where(Model.name.in_(names)))
    return {row.name: row.id for row in rows}


def show(session: Session, model_id: uuid.UUID) -> ModelRow | None:
    row = session.execute(_with_parent().where(Model.id == model_id)).one_or_none()
    return None if row is None else ModelRow(*row)


def page(session: Session, *, limit: int, after: uuid.UUID | None) -> Page[ModelRow]:
    page = fetch_page(session, _with_parent(), Model.id, limit=limit, after=after)
    return page.map(lambda row: ModelRow(*row))


def all_names(session: Session) -> Sequence[str]:
    return session.scalars(select(Model.name).order_by(Model.name)).all()


def _with_parent() -> Any:
    parent = aliased(Model)
    return select(Model, parent.name).outerjoin(parent, parent.id == Model.parent_id)
