import uuid
from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import Name, RequestBody, Text, VisibleText
from api.schemas.jobs import JobOut, job_fields
from api.schemas.load_options import WithLoadOptionsIn, WithLoadOptionsOut
from api.schemas.sampling import SamplingIn, SamplingOut
from db.queries.generations import GenerationRow
from db.vocabulary import JobStatus

MAX_BATCH = 10_000
MAX_TEXT = 200_000
"""Characters; what a model's context holds is checked in tokens by the worker."""


class GenerationIn(SamplingIn, WithLoadOptionsIn):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "starter",
                    "prompt": "Create a web page with a heading and a list of the items.",
                    "input": "heading: Market day\nitems: apples, pears, plums",
                },
                {
                    "model": "starter",
                    "prompt": "Create a page titled 'One'.",
                    "load": {"method": "bitsandbytes", "bits": 4},
                },
            ]
        }
    )

    model: Name = Field(description="The name of a registered model.")
    prompt: VisibleText = Field(min_length=1, max_length=MAX_TEXT, description="The instruction.")
    input: Text = Field("", max_length=MAX_TEXT, description="The values that the instruction speaks of, if any.")


class GenerationBatchIn(RequestBody):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {"model": "starter", "prompt": "Create a page titled 'One'."},
                        {"model": "starter", "prompt": "Create a page titled 'Two'.", "temperature": 0.7, "seed": 1},
                    ]
                }
            ]
        }
    )

    items: list[GenerationIn] = Field(min_length=1, max_length=MAX_BATCH)


class GenerationOut(SamplingOut, WithLoadOptionsOut, JobOut):
    """A generation job: what was asked, and when it has ended, the completion."""

    model: str
    prompt: str
    input: str
    completion: str | None = Field(description="The HTML. A cancelled job has what it had made.")
    finish_reason: str | None = Field(description="`stop`, `length` or `cancelled`.")
    prompt_tokens: int | None
    completion_tokens: int | None

    @classmethod
    def of_row(cls, row: GenerationRow) -> Self:
        generation = row.generation
        asked_and_made = (name for name in cls.model_fields if hasattr(generation, name))
        return cls(
            **job_fields(row.job), model=row.model_name, **{name: getattr(generation, name) for name in asked_and_made}
        )


class GenerationBatchOut(BaseModel):
    id: uuid.UUID
    counts: dict[JobStatus, int] = Field(description="How many of its jobs have each status.")

    @classmethod
    def of(cls, batch_id: uuid.UUID, counts: Mapping[JobStatus, int]) -> Self:
        return cls(id=batch_id, counts={status: counts.get(status, 0) for status in JobStatus})

    @property
    def final(self) -> bool:
        return not any(count for status, count in self.counts.items() if not status.final)


class GenerationBatchSubmitted(GenerationBatchOut):
    job_ids: Sequence[uuid.UUID] = Field(description="In the order of the items.")
