"""Storing how a request says that its model is prompted."""

import json
from typing import Any

from sqlalchemy.orm import Session

from api.dependencies import Caller
from api.errors import Problem, ProblemType, invalid
from api.schemas.prompting import PromptIn
from db.queries import templates
from db.tables.models import Model
from db.vocabulary import ModelKind, Role
from models.prompts.templates import AUTO, hash_of, is_hash, is_text


def template_columns(
    session: Session, template: str | None, model: Model | None = None, field: str = "template"
) -> dict[str, str | None]:
    """Return the columns for a template, and store its text if it is one. `model` is the one that a job prompts.

    Raises a 422 Problem about `field` for a hash of no stored template, and for a template other than the one that an
    adapter was trained with.
    """
    if template is None:
        return {"template": None, "template_sha256": None}
    if model is not None and model.kind == ModelKind.ADAPTER and not _trained_with(model, template):
        raise invalid(
            field, f"the adapter was trained with the template {model.template}, and takes no other: leave it out"
        )
    if is_text(template):
        sha256 = templates.store(session, template)
    elif not is_hash(template):
        return {"template": template, "template_sha256": None}
    elif templates.get(session, sha256 := template) is None:
        raise invalid(field, "there is no template with this hash")
    return {"template": sha256, "template_sha256": sha256}


def check_may_prompt(caller: Caller, body: PromptIn, place: str = "") -> None:
    """Raise a 403 Problem for a Jinja text from a user.

    A worker renders it, and nothing bounds the time and the memory that a text of loops takes.
    """
    if body.template is not None and is_text(body.template) and caller.role != Role.ADMIN:
        detail = f"{place}template: only admins may send a Jinja text; name a template, or the hash of a stored one"
        raise Problem(403, ProblemType.FORBIDDEN, detail)


def prompt_columns(session: Session, body: PromptIn, model: Model) -> dict[str, Any]:
    """Return the columns for how a job prompts its model, as `template_columns` and `variable_columns` do."""
    return template_columns(session, body.template, model) | variable_columns(body)


def variable_columns(body: PromptIn) -> dict[str, Any]:
    """Return the columns for the system message and the template's variables.

    The variables are sorted, since the leaderboard compares them as text.
    """
    variables = json.loads(json.dumps(body.chat_template_kwargs, sort_keys=True))
    return {"system": body.system, "chat_template_kwargs": variables or None}


def _trained_with(adapter: Model, template: str) -> bool:
    sha256 = hash_of(template) if is_text(template) else template
    return template == AUTO or sha256 in (adapter.template, adapter.template_sha256)
