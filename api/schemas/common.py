"""What the schemas of several resources share."""

import uuid
from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from db.pages import Page
from models.scoring.names import BASELINE_PREFIX

T = TypeVar("T")


class RequestBody(BaseModel):
    """Takes the JSON types that it names and no others, and no field that it does not know."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the character U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain an unpaired surrogate") from None
    return text


def not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


Text = Annotated[str, AfterValidator(storable), Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})]
"""Text that both databases can store."""

VisibleText = Annotated[
    Text, AfterValidator(not_blank), Field(json_schema_extra={"pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"})
]

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}$")]


def _no_baseline(name: str) -> str:
    if name.startswith(BASELINE_PREFIX):
        raise ValueError(f"names that start with `{BASELINE_PREFIX}` are reserved for baselines")
    return name


NewModelName = Annotated[Name, AfterValidator(_no_baseline)]


class PageOut(BaseModel, Generic[T]):
    """One page of a list, newest first."""

    items: list[T]
    next: uuid.UUID | None = Field(description="Pass as `after` for the next page; null on the last one.")

    @classmethod
    def of(cls, page: Page[T]) -> "PageOut[T]":
        return cls(items=list(page.items), next=page.next)
