"""How a job prompts its model, and which part of a completion is the page."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from api.schemas.common import RequestBody, Text, storable
from models.prompts import templates
from models.prompts.templates import PromptError

MAX_SYSTEM = 100_000
MAX_KWARGS = 10_000
"""Characters of `chat_template_kwargs` as JSON."""

Extract = Literal["none", "html"]


def _known_template(template: str) -> str:
    """Return the template. Raises ValueError if it is neither a name, nor a hash, nor a Jinja text."""
    if templates.is_text(template):
        try:
            templates.check_template(template)
        except PromptError as error:
            raise ValueError(str(error)) from None
    elif template not in templates.NAMES and not templates.is_hash(template):
        raise ValueError(
            f"must be one of {', '.join(templates.NAMES)}, a Jinja text, or the `template_sha256` of a stored one"
        )
    return template


def _template_variables(values: dict[str, Any]) -> dict[str, Any]:
    """Return the variables. Raises ValueError if a template can't have one, or a database can't store it."""
    try:
        templates.check_variables(values)
    except PromptError as error:
        raise ValueError(str(error)) from None
    for text in _texts(values):
        storable(text)
    if len(json.dumps(values, allow_nan=False)) > MAX_KWARGS:
        raise ValueError(f"must have at most {MAX_KWARGS} characters as JSON")
    return values


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.items() for part in item for text in _texts(part)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


PromptTemplate = Annotated[
    Text,
    AfterValidator(_known_template),
    Field(
        max_length=templates.MAX_CHARACTERS,
        description="How messages become a prompt text: `auto` (the tokenizer's chat template if it has one, else "
        "`pagewright-1`), `chat` (the tokenizer's chat template), `pagewright-1` (headings for instruction, input and "
        "response), `raw` (the text alone), a Jinja text, or the `template_sha256` of a stored one. A Jinja text gets "
        "`messages`, `add_generation_prompt` and the tokenizer's special tokens, as a chat template of transformers "
        "does. Only admins may send a Jinja text.",
        examples=["auto", "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}{% endfor %}"],
    ),
]

TemplateVariables = Annotated[
    dict[str, Any],
    AfterValidator(_template_variables),
    Field(
        description="Values for variables of the template.",
        json_schema_extra={
            "propertyNames": {
                "pattern": templates.VARIABLE.pattern,
                "not": {"anyOf": [{"enum": sorted(templates.RESERVED_VARIABLES)}, {"pattern": "_token$"}]},
            }
        },
        examples=[{"enable_thinking": False}],
    ),
]


class PromptIn(RequestBody):
    """The base class of requests that can say how the model is prompted."""

    template: PromptTemplate | None = Field(
        None,
        description="The prompt template. Null: the template that the model was registered or trained with. An adapter "
        "takes no other template than the one it was trained with.",
    )
    system: Text | None = Field(
        None, max_length=MAX_SYSTEM, description="The system message of chats that have none of their own."
    )
    chat_template_kwargs: TemplateVariables | None = None


class PromptOut(BaseModel):
    template: str | None = Field(
        description="The template's name, or its hash if it is a Jinja text of one's own. If the request names none, "
        "the worker that runs the job sets it."
    )
    template_sha256: str | None = Field(
        description="The hash of the Jinja text that rendered the prompts; `GET /v1/templates/{sha256}` returns the "
        "text. Null until the job has run."
    )
    system: str | None = Field(description="The system message of chats that have none of their own.")
    chat_template_kwargs: dict[str, Any] | None = Field(description="Values for variables of the template.")


class ExtractIn(RequestBody):
    """The base class of requests that can say which part of a completion is the page."""

    extract: Extract | None = Field(
        None,
        description="Which part of a completion is the page. `none`: all of it. `html`: a thinking part is left out; "
        "then the page is the first fenced block with HTML, else what there is from the doctype or `<html` to "
        "`</html>`, else all of it. Null: `none` with the templates `pagewright-1` and `raw`, else `html`.",
    )


class EngineOut(BaseModel):
    engine: str | None = Field(
        description="What computed the completions, such as `transformers-paged`. Null for a baseline, before the job "
        "has run, and for what older versions of Pagewright stored. Completions of two engines may differ."
    )
    engine_version: str | None = Field(description="The version of the engine's library.")


class ExtractOut(BaseModel):
    extract: Extract | None = Field(
        description="Which part of a completion is the page. If the request does not say it, the worker that runs the "
        "job sets it."
    )
