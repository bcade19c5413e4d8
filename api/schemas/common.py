"""What the schemas of several resources share."""

import uuid
from dataclasses import fields
from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from db.pages import Page
from db.queries.job_names import Named
from db.vocabulary import JobStatus
from models.prompts.rows import Role
from models.scoring.names import BASELINE_PREFIX

T = TypeVar("T")

MAX_INT32 = 2**31 - 1
"""The largest value of an integer column."""


class RequestBody(BaseModel):
    """The base class of JSON request bodies: refuses unknown fields, and values of another JSON type."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class QueryParameters(BaseModel):
    """The base class of query parameters: refuses unknown ones."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class PageQuery(QueryParameters):
    """The query parameters of every list."""

    limit: int = Field(20, ge=1, le=100, description="The maximum number of items to return.")
    after: uuid.UUID | None = Field(None, description="The value of `next` on the previous page.")


def storable(text: str) -> str:
    """Return `text`. Raises ValueError if a database can't store it."""
    if "\0" in text:
        raise ValueError("must not contain the character U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain an unpaired surrogate") from None
    return text


def not_blank(text: str) -> str:
    """Return `text`. Raises ValueError if it is empty or has only whitespace."""
    if not text.strip():
        raise ValueError("must not be blank")
    return text


Text = Annotated[str, AfterValidator(storable), Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})]
"""Text that both SQLite and PostgreSQL can store."""

VisibleText = Annotated[
    Text, AfterValidator(not_blank), Field(json_schema_extra={"pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"})
]
"""`Text` with at least one character that is not whitespace."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}$")]
"""The name of a model or a dataset."""


class NamedPageQuery(PageQuery):
    """The query parameters of lists of things that have a name."""

    name: Name | None = Field(None, description="Return only what has this name.")


class JobPageQuery(PageQuery):
    """The query parameters of every list of jobs. Those of a kind may have `name`, `model` and `dataset`, too."""

    status: JobStatus | None = Field(None, description="Return only jobs with this status.")

    def named(self) -> Named:
        """The parameters that select jobs by name, for the database query."""
        return Named(**{field.name: getattr(self, field.name, None) for field in fields(Named)})


class NamedJobsQuery(JobPageQuery):
    """The query parameters of lists of jobs that have a name and a model."""

    name: Name | None = Field(None, description="Return only jobs with this name.")
    model: Name | None = Field(None, description="Return only jobs on this model: its name or id.")


class DatasetJobsQuery(NamedJobsQuery):
    """The query parameters of lists of jobs that have a name, a model and a dataset."""

    dataset: Name | None = Field(None, description="Return only jobs on this dataset: its name or id.")


def _not_reserved(name: str) -> str:
    if name.startswith(BASELINE_PREFIX):
        raise ValueError(f"must not start with `{BASELINE_PREFIX}`, which is reserved for baselines")
    return name


NewModelName = Annotated[Name, AfterValidator(_not_reserved)]
"""A name under which a model can be registered."""


class MessageOut(BaseModel):
    """A message of a chat."""

    role: Role
    content: str


class PageOut(BaseModel, Generic[T]):
    """One page of a list, newest first."""

    items: list[T]
    next: uuid.UUID | None = Field(description="The value of `after` for the next page; null on the last page.")

    @classmethod
    def of(cls, page: Page[T]) -> "PageOut[T]":
        return cls(items=list(page.items), next=page.next)
