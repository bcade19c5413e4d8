import json
import uuid
from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field, Json, StringConstraints, field_validator, model_validator

from api.schemas.common import Name, RequestBody, Text, storable
from api.schemas.models import COMMIT, HUB_NAME
from db.tables.datasets import Dataset
from db.vocabulary import DatasetSource

_ROW = {"instruction": "Create a web page with a heading.", "output": "<!DOCTYPE html><html><h1>Hi</h1></html>"}

ColumnName = Annotated[Text, StringConstraints(min_length=1, max_length=500)]


class ColumnsIn(RequestBody):
    """A file's column for each of ours: `instruction`, `output` and at will `input`; or `messages` alone."""

    instruction: ColumnName | None = None
    input: ColumnName | None = None
    output: ColumnName | None = None
    messages: ColumnName | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if set(self.named()) not in ({"instruction", "output"}, {"instruction", "input", "output"}, {"messages"}):
            raise ValueError("name either the instruction, the output and at will the input, or the messages alone")
        return self

    def named(self) -> dict[str, str]:
        return self.model_dump(exclude_none=True)


def _as_form(schema: dict[str, Any]) -> None:
    """What the document says of DatasetIn; a form can leave a field out, but holds no null."""
    schema["examples"] = [{"name": "pages", "file": "\n".join([json.dumps(_ROW)] * 4), "test_fraction": 0.25}]
    for field in schema["properties"].values():
        for kind in field.pop("anyOf", ()):
            if kind != {"type": "null"}:
                field.update(kind)


class DatasetIn(BaseModel):
    """A form, not JSON: its numbers come as text."""

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        json_schema_extra=_as_form,
    )

    name: Name = Field(description="What jobs call it by.")
    file: UploadFile | None = Field(
        None, description="Rows as JSON (an array of objects), JSONL, CSV or Parquet, as the file's name ends."
    )
    hub: str | None = Field(
        None,
        max_length=500,
        pattern=f"^{HUB_NAME.pattern}$",
        description="Instead of a file, `owner/name` of a dataset on the hub: of its data files (JSON, JSONL, CSV, "
        "Parquet) those with `train` in their path, or all if none has it.",
    )
    revision: str | None = Field(None, pattern=f"^{COMMIT.pattern}$", description="hub: the commit, 40 hex digits.")
    columns: Json[ColumnsIn] | None = Field(
        None,
        description="Which columns are `instruction`, `output` and at will `input`, or else `messages` (chats of a "
        "user's message and the answer), as a JSON object. Default: columns of these names, or prompt and completion.",
    )
    test_fraction: float = Field(0.0, ge=0, lt=1, description="Of the rows, drawn for the test split.")
    seed: int = Field(42, ge=0, le=2**32 - 1, description="What the draw depends on.")

    @field_validator("file")
    @classmethod
    def _named(cls, file: UploadFile | None) -> UploadFile | None:
        if file and len(storable(file.filename or "")) > 500:
            raise ValueError("its name is longer than 500 characters")
        return file


class DatasetOut(BaseModel):
    id: uuid.UUID
    name: str
    source: DatasetSource
    location: str = Field(description="The name of the uploaded file, or `owner/name` on the hub.")
    revision: str | None
    columns: dict[str, str] = Field(description="The column that each of ours was read from.")
    test_fraction: float
    seed: int
    train_rows: int
    test_rows: int
    overlapping_rows: int = Field(description="Test rows that stand in the training split too, whitespace aside.")
    created_at: datetime

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        return cls.model_validate(dataset, from_attributes=True)


class DatasetRowOut(BaseModel):
    row: int = Field(description="Its number in the split, from 0.")
    instruction: str
    input: str
    output: str


class DatasetRowsOut(BaseModel):
    """Rows, in order."""

    items: list[DatasetRowOut]
    next: int | None = Field(description="Pass as `after` for the next page; null on the last one.")
