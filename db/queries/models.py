"""Queries about registered models."""

import re
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from db.pages import Page, fetch_page
from db.queries import references
from db.session import now, serialize
from db.tables.jobs import IS_LIVE, Job
from db.tables.mixins import MakesModel
from db.tables.models import Model
from db.vocabulary import ModelKind, ModelSource

BUNDLED = ("starter",)
"""The models that Pagewright ships with. `ensure_bundled` registers them."""


COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class ModelRow:
    """A model, and the name of its parent if it has one."""

    model: Model
    parent_name: str | None


def add(
    session: Session,
    name: str,
    source: ModelSource,
    location: str,
    revision: str | None,
    commit: str | None = None,
    files: dict[str, Any] | None = None,
    quantization: dict[str, Any] | None = None,
    template: str | None = None,
    template_sha256: str | None = None,
) -> Model | None:
    """Register a model and return it. Return None, and register nothing, if the name is taken.

    `files` are the fields of `models.loading.description.ModelFiles`, or None if they are not known.
    """
    model = Model(
        name=name,
        source=source,
        location=location,
        revision=revision,
        commit=commit,
        parameters={"quantization": quantization} if quantization else None,
        files=files,
        template=template,
        template_sha256=template_sha256,
    )
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
    template_sha256: str | None = None,
    parameters: dict[str, Any] | None,
    job_id: uuid.UUID | None,
) -> Model | None:
    """Register the result model of a job and return it. Return None, and register nothing, if the name is taken.

    `location` is a folder in the artifact store that already holds all of the model's files.
    """
    model = Model(
        name=name,
        source=ModelSource.ARTIFACT,
        kind=kind,
        location=location,
        parent_id=parent_id,
        dataset_id=dataset_id,
        template=template,
        template_sha256=template_sha256,
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


def set_engine(session: Session, model_id: uuid.UUID, engine: str, reason: str | None) -> None:
    """Store which engine serves the model, and why not a faster one."""
    session.execute(update(Model).where(Model.id == model_id).values(engine=engine, engine_reason=reason))


def set_commit(session: Session, model_id: uuid.UUID, commit: str) -> str:
    """Store the commit of a hub model, unless it has one, and return the stored one."""
    session.execute(update(Model).where(Model.id == model_id, Model.commit.is_(None)).values(commit=commit))
    return session.scalars(select(Model.commit).where(Model.id == model_id)).one() or commit


def set_files(session: Session, model_id: uuid.UUID, files: dict[str, Any]) -> None:
    """Store what the files of a hub model are, unless that is known."""
    quantization = files.get("quantization")
    values = {"files": files, "parameters": {"quantization": quantization} if quantization else None}
    session.execute(update(Model).where(Model.id == model_id, Model.files.is_(None)).values(**values))


def commit_of(model: Model) -> str | None:
    """Return the commit of a hub model, or None if it is not known yet."""
    if model.commit is None and model.revision and COMMIT.fullmatch(model.revision):
        return model.revision  # registered before Pagewright stored commits, or while the hub did not answer
    return model.commit


def name_is_free(session: Session, name: str) -> bool:
    """Return whether no model has the name and no queued or running job will give it to its result model.

    Call it before taking a name, in the same transaction: until that ends, other calls wait.
    """
    serialize(session, "model names")
    reserved = (
        exists().where(table.name == name, table.job_id == Job.id, IS_LIVE) for table in MakesModel.__subclasses__()
    )
    return not session.scalars(select(or_(exists().where(Model.name == name), *reserved))).one()


def is_registered_at(session: Session, location: str) -> bool:
    """Return whether a registered model has its files in this folder of the artifact store."""
    registered = exists().where(Model.source == ModelSource.ARTIFACT, Model.location == location)
    return session.scalars(select(registered)).one()


def ensure_bundled(session: Session) -> None:
    """Register the bundled models that are not registered yet."""
    for name in BUNDLED:
        if get_by_name(session, name) is None:
            add(session, name, ModelSource.BUNDLED, name, None)


def get(session: Session, model_id: uuid.UUID) -> Model | None:
    """Return the model, or None if there is no such model."""
    return session.get(Model, model_id)


def lineage(session: Session, model_id: uuid.UUID) -> Sequence[Model]:
    """Return the model, which must exist, the one that it is derived from, and so on to one that no job made."""
    ancestors = [session.get_one(Model, model_id)]
    while parent_id := ancestors[-1].parent_id:
        ancestors.append(session.get_one(Model, parent_id))
    return ancestors


def get_by_name(session: Session, name: str) -> Model | None:
    """Return the model with this name, or None if there is no such model."""
    return session.scalars(select(Model).where(Model.name == name)).one_or_none()


def find(session: Session, reference: str) -> Model | None:
    """Return the model with this id or name, or None if there is no such model."""
    return references.find(session, Model, reference)


def by_reference(session: Session, wanted: Collection[str]) -> dict[str, Model]:
    """Return the registered models that have these ids or names, by that; those of no model are left out."""
    ids = {key: one for one in wanted if (key := references.as_id(one))}
    by_id = {ids[model.id]: model for model in session.scalars(select(Model).where(Model.id.in_(ids)))}
    return by_name(session, set(wanted) - by_id.keys()) | by_id


def by_name(session: Session, names: Collection[str]) -> dict[str, Model]:
    """Return the registered models among these names; names of no model are left out."""
    return {model.name: model for model in session.scalars(select(Model).where(Model.name.in_(names)))}


def find_with_parent(session: Session, reference: str) -> ModelRow | None:
    """Return the model with this id or name, and its parent's name, or None if there is no such model."""
    model = find(session, reference)
    row = None if model is None else session.execute(_with_parent().where(Model.id == model.id)).one()
    return None if row is None else ModelRow(*row)


def page(session: Session, *, name: str | None, limit: int, after: uuid.UUID | None) -> Page[ModelRow]:
    """Return a page of models, newest first; with a name, of the model that has it."""
    statement = _with_parent()
    if name is not None:
        statement = statement.where(Model.name == name)
    page = fetch_page(session, statement, Model.id, limit=limit, after=after)
    return page.map(lambda row: ModelRow(*row))


def all_names(session: Session, limit: int | None = None) -> Sequence[str]:
    """Return the names of all models, sorted; at most `limit`, or all with None."""
    return session.scalars(select(Model.name).order_by(Model.name).limit(limit)).all()


def _with_parent() -> Any:
    parent = aliased(Model)
    return select(Model, parent.name).outerjoin(parent, parent.id == Model.parent_id)
