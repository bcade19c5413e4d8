"""Queries about registered models."""

import uuid
from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.pages import Page, fetch_page
from db.session import now
from db.tables import Model, ModelSource

BUNDLED = ("starter",)
"""The models that ship with the project; migrations do not register them, `ensure_bundled` does."""


def add(session: Session, name: str, source: ModelSource, location: str, revision: str | None) -> Model | None:
    """Register a model; None if the name is taken."""
    model = Model(name=name, source=source, location=location, revision=revision, created_at=now(session))
    try:
        with session.begin_nested():
            session.add(model)
    except IntegrityError:
        return None
    return model


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


def page(session: Session, *, limit: int, after: uuid.UUID | None) -> Page[Model]:
    return fetch_page(session, select(Model), Model.id, limit=limit, after=after)


def all_names(session: Session) -> Sequence[str]:
    return session.scalars(select(Model.name).order_by(Model.name)).all()
