from typing import Self

from pydantic import ConfigDict, Field

from api.schemas.common import Name, RequestBody
from api.schemas.jobs import JobOut, job_fields
from db.queries.models import commit_of
from db.queries.pulls import PullRow


class PullIn(RequestBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "llama-2-7b-chat-gptq"}]})

    model: Name = Field(description="The name of a registered hub model, or its id.")


class PullOut(JobOut):
    """A pull job: the model, and how much of its files is downloaded."""

    model: str
    commit: str | None = Field(description="The commit whose files are downloaded.")
    bytes_done: int | None = Field(description="How many bytes are in the worker's cache; null before that is known.")
    bytes_total: int | None = Field(description="How many bytes the files have.")

    @classmethod
    def of_row(cls, row: PullRow) -> Self:
        return cls(
            **job_fields(row.job),
            model=row.model.name,
            commit=commit_of(row.model),
            bytes_done=row.request.bytes_done,
            bytes_total=row.request.bytes_total,
        )
