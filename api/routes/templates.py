"""Prompt templates: the Jinja texts that jobs have rendered prompts with."""

from typing import Annotated

from fastapi import APIRouter, Path

from api.dependencies import AnyCaller, DatabaseDep, GuardedRoute
from api.errors import document_problems, not_found
from api.schemas.templates import TemplateOut
from db.queries import templates

router = APIRouter(
    prefix="/v1/templates", tags=["models"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)


@router.get("/{sha256}", summary="Get a prompt template", responses=document_problems(404))
def get_template(
    sha256: Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="The `template_sha256` of a job or a model.")],
    _: AnyCaller,
    database: DatabaseDep,
) -> TemplateOut:
    """Get the Jinja text that prompts were rendered with."""
    with database.read() as session:
        template = templates.get(session, sha256)
    if template is None:
        raise not_found("template")
    return TemplateOut.model_validate(template, from_attributes=True)
