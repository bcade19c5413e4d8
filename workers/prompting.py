"""How the jobs of a worker prompt their models, and what is stored of it. Imports no torch."""

import uuid
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from db.queries import templates
from db.tables.mixins import PromptColumns
from db.tables.models import Model
from db.vocabulary import ModelKind
from models.prompts.templates import AUTO, PromptOptions
from models.tasks.reports import PromptTemplate
from workers.builds.recorder import Store
from workers.runtime import Runtime


def prompt_options(runtime: Runtime, request: PromptColumns, model: Model) -> PromptOptions:
    """Return how a job prompts its model: as the request says, else as the model's registration says.

    An adapter is always prompted by what was saved with it, which includes the system message of its training.
    """
    named = model if model.kind == ModelKind.ADAPTER or request.template in (None, AUTO) else request
    return PromptOptions(
        template=named.template or AUTO,
        text=_text(runtime, named.template_sha256),
        system=request.system,
        variables=request.chat_template_kwargs,
    )


def training_prompt(runtime: Runtime, model: Model) -> PromptOptions:
    """Return how an adapter's training prompted its model."""
    return PromptOptions(template=model.template or AUTO, text=_text(runtime, model.template_sha256))


def store_template(table: Any) -> Store:
    """Return the function that stores a reported template with a job, whose request is a row of `table`."""

    def store(session: Session, job_id: uuid.UUID, report: PromptTemplate) -> None:
        sha256 = templates.store(session, report.text)
        statement = update(table).where(table.job_id == job_id)
        statement = statement.values(template=report.name, template_sha256=sha256)
        session.execute(statement.execution_options(synchronize_session=False))

    return store


def _text(runtime: Runtime, sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    with runtime.database.read() as session:
        text = templates.text_of(session, sha256)
    assert text is not None, "a template is stored before its hash"
    return text
