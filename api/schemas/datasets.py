import codecs
import json
import uuid
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from fastapi import UploadFile
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    StringConstraints,
    field_validator,
    model_validator,
)

from api.datasets.text import ENCODINGS
from api.errors import FieldError, shown
from api.schemas.common import MAX_INT32, MessageOut, Name, QueryParameters, RequestBody, Text, storable
from api.schemas.models import COMMIT, HUB_NAME
from db.tables.datasets import Dataset
from db.vocabulary import DatasetSource, Split

_ROW = {"instruction": "Create a web page with a heading.", "output": "<!DOCTYPE html><html><h1>Hi</h1></html>"}

ColumnName = Annotated[Text, StringConstraints(min_length=1, max_length=500)]


HubPart = Annotated[Text, StringConstraints(min_length=1, max_length=500)]
"""The name of a configuration or a split of a hub dataset."""


def _known_encoding(name: str) -> str:
    known = {codecs.lookup(encoding).name: encoding for encoding in ENCODINGS}
    with suppress(LookupError, ValueError):  # ValueError for a name with U+0000
        if encoding := known.get(codecs.lookup(name).name):
            return encoding
    raise ValueError(f"is not an encoding that can be read; name one of: {', '.join(ENCODINGS)}")


Encoding = Annotated[str, AfterValidator(_known_encoding), Field(json_schema_extra={"enum": list(ENCODINGS)})]


class OnInvalid(StrEnum):
    """What happens to invalid rows of a dataset."""

    REFUSE = "refuse"
    SKIP = "skip"


class ColumnsIn(RequestBody):
    """The file's column for each part of a row: `instruction` and `output`, or `messages`, and optional parts."""

    instruction: ColumnName | None = Field(None, description="Texts, or lists of messages (a chat without its end).")
    input: ColumnName | None = Field(None, description="Texts that belong to `instruction`.")
    output: ColumnName | None = Field(None, description="Texts, or lists of messages (the end of a chat).")
    history: ColumnName | None = Field(None, description="Earlier turns: lists of pairs `[user, assistant]`.")
    messages: ColumnName | None = Field(None, description="Lists of messages.")
    system: ColumnName | None = Field(None, description="System messages.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        named = set(self.named()) - {"system"}
        if named != {"messages"} and named - {"input", "history"} != {"instruction", "output"}:
            raise ValueError(
                "must have `instruction`, `output` and optionally `input` and `history`, or else `messages`; and "
                "optionally `system`"
            )
        parts: dict[str, str] = {}
        for part, column in self.named().items():
            if column in parts:
                raise ValueError(
                    f"names the column `{shown(column)}` for both `{parts[column]}` and `{part}`; name a column of its "
                    "own for each part"
                )
            parts[column] = part
        return self

    def named(self) -> dict[str, str]:
        """The columns that the request names, by the part of a row."""
        return self.model_dump(exclude_none=True)


def _as_form(schema: dict[str, Any]) -> None:
    """Adapt the JSON schema of DatasetIn to a form, where a field can be left out but can't be null."""
    schema["examples"] = [{"name": "pages", "file": "\n".join([json.dumps(_ROW)] * 4), "test_fraction": 0.25}]
    for field in schema["properties"].values():
        for kind in field.pop("anyOf", ()):
            if kind != {"type": "null"}:
                field.update(kind)


class DatasetIn(BaseModel):  # not a RequestBody, because a form's numbers arrive as text
    """The form with which a dataset is created."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, json_schema_extra=_as_form)

    name: Name = Field(description="The name by which jobs refer to the dataset.")
    file: UploadFile | None = Field(
        None,
        description="The rows, as JSON (an array of objects), JSONL, CSV (with commas, semicolons or tabs) or Parquet, "
        "each also compressed with gzip or zstd. The content says which it is, not the file's name.",
    )
    hub: str | None = Field(
        None,
        max_length=500,
        pattern=f"^{HUB_NAME.pattern}$",
        description="Instead of a file, a dataset on the Hugging Face Hub as `owner/name`. Its JSON, JSONL, CSV and "
        "Parquet files are read, in the configurations and splits that its card or its folders give them.",
    )
    revision: str | None = Field(
        None,
        pattern=f"^{COMMIT.pattern}$",
        description="The full commit hash (40 hexadecimal digits) of the hub dataset; required with `hub`.",
    )
    config: HubPart | None = Field(
        None,
        description="The configuration of the hub dataset. Default: the only one, or the card's default. If there are "
        "several, the error lists them.",
    )
    train_split: HubPart | None = Field(
        None, description="The hub dataset's split that becomes the train split. Default: `train`."
    )
    test_split: HubPart | None = Field(
        None,
        description="The hub dataset's split that becomes the test split. Default: `test`, or else `validation`, or "
        "else none. With `test_fraction` the test rows are taken from the train rows instead.",
    )
    encoding: Encoding | None = Field(
        None,
        description="The encoding of text files that have no byte order mark, such as `windows-1252` for CSV from "
        "Excel. Default: UTF-8.",
    )
    on_invalid: OnInvalid = Field(
        OnInvalid.REFUSE,
        description="What happens to invalid rows: `refuse` stores nothing and lists them; `skip` stores the others, "
        "and the dataset says which were left out.",
    )
    columns: Json[ColumnsIn] | None = Field(
        None,
        description="The columns to read, as a JSON object: `instruction`, `output` and optionally `input` and "
        "`history`, or else `messages` (chats, as OpenAI or ShareGPT write them); and optionally `system`. Default: "
        "the columns with these names, or `prompt` and `completion`, or `conversations`.",
    )
    test_fraction: float = Field(0.0, ge=0, lt=1, description="The share of rows that go to the test split.")
    seed: int = Field(42, ge=0, le=2**32 - 1, description="The seed of the random choice of test rows.")

    @field_validator("file")
    @classmethod
    def _named(cls, file: UploadFile | None) -> UploadFile | None:
        if file and len(storable(file.filename or "")) > 500:
            raise ValueError("the file's name must not be longer than 500 characters")
        return file


class DatasetOut(BaseModel):
    id: uuid.UUID
    name: str
    source: DatasetSource
    location: str = Field(description="The name of the uploaded file, or `owner/name` on the hub.")
    revision: str | None = Field(description="The commit of a hub dataset.")
    config: str | None = Field(description="The configuration of a hub dataset; null if it has none.")
    train_split: str | None = Field(
        description="The hub dataset's split that the train rows come from. Null for an upload."
    )
    test_split: str | None = Field(
        description="The hub dataset's split that is the test split. Null if the test rows were taken from the train "
        "rows, or there are none."
    )
    columns: dict[str, str] = Field(description="The file's column for each part of a row.")
    unused_columns: dict[str, int | None] | None = Field(
        description="The columns that are not used, and the fields of messages that are not used (`messages[].name`), "
        "each with the number of rows that have something in it; the number is null if the column was too large to "
        "count. Null for datasets that were created before this was recorded."
    )
    test_fraction: float
    seed: int
    skipped_rows: int | None = Field(
        description="The number of invalid rows that were left out (`on_invalid`). Null for datasets that were created "
        "before this was recorded."
    )
    skipped: list[FieldError] | None = Field(description="What was wrong with the first of these rows, up to 20.")
    train_rows: int = Field(description="The number of rows in the train split.")
    test_rows: int = Field(description="The number of rows in the test split.")
    overlapping_rows: int = Field(
        description="The number of test rows that also appear in the train split. Whitespace is ignored."
    )
    created_at: datetime

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        return cls.model_validate(dataset, from_attributes=True)


class DatasetTurnOut(MessageOut):
    learn: bool = Field(description="False if a fine-tune's loss leaves this answer out (`weight` 0).")


class DatasetRowOut(BaseModel):
    row: int = Field(description="The row's number in the split, from 0.")
    context: list[DatasetTurnOut] = Field(
        description="The messages of a chat before `instruction`, in order: an optional system message, then those of "
        "the user and the assistant in turn."
    )
    instruction: str = Field(description="What to do. In a chat, the last message of the user.")
    input: str
    output: str = Field(description="The page to write. In a chat, the last message of the assistant.")
    learn: bool = Field(description="False if a fine-tune's loss leaves `output` out (`weight` 0).")


class DatasetRowsQuery(QueryParameters):
    split: Split = Field(Split.TRAIN, description="The split to read.")
    limit: int = Field(20, ge=1, le=100, description="The maximum number of rows to return.")
    after: int = Field(-1, ge=-1, le=MAX_INT32, description="The value of `next` on the previous page.")


class DatasetRowsOut(BaseModel):
    """One page of rows, in order."""

    items: list[DatasetRowOut]
    next: int | None = Field(description="The value of `after` for the next page; null on the last page.")
