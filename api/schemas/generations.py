import uuid
from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import JobPageQuery, Name, RequestBody, Text, VisibleText
from api.schemas.jobs import JobOut, job_fields
from api.schemas.load_options import LoadOptionsIn, LoadOptionsOut
from api.schemas.prompting import EngineOut, ExtractIn, ExtractOut, PromptIn, PromptOut
from api.schemas.sampling import SamplingIn, SamplingOut
from db.queries.generations import GenerationRow
from db.vocabulary import JobStatus
from models.prompts.extraction import extract_page

MAX_BATCH = 10_000
MAX_TEXT = 200_000
"""Characters. The worker checks whether the prompt fits in the model's context, in tokens."""


class GenerationsQuery(JobPageQuery):
    batch_id: uuid.UUID | None = Field(None, description="Return only generations of this batch.")
    model: Name | None = Field(None, description="Return only generations of this model: its name or id.")


class GenerationIn(SamplingIn, LoadOptionsIn, PromptIn, ExtractIn):
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
                {
                    "model": "starter",
                    "prompt": "Create a page titled 'One'.",
                    "system": "Answer with one HTML page.",
                    "chat_template_kwargs": {"enable_thinking": False},
                    "extract": "html",
                },
            ]
        }
    )

    model: Name = Field(description="The name or id of a registered model.")
    prompt: VisibleText = Field(min_length=1, max_length=MAX_TEXT, description="The instruction: what page to write.")
    input: Text = Field(
        "", max_length=MAX_TEXT, description="Data that the instruction refers to, such as the texts of the page."
    )


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

    items: list[GenerationIn] = Field(min_length=1, max_length=MAX_BATCH, description="The generations to submit.")


class GenerationOut(SamplingOut, LoadOptionsOut, PromptOut, ExtractOut, EngineOut, JobOut):
    """A generation job: the request, and the completion when the job has finished."""

    model: str
    prompt: str
    input: str
    completion: str | None = Field(
        description="What the model generated. A job that was cancelled while it ran has the part generated until then."
    )
    page: str | None = Field(description="The page in the completion, as `extract` says.")
    finish_reason: str | None = Field(
        description="Why the completion ended: `stop` (the model ended it, or a stop string was generated), `length` "
        "(the token limit was reached) or `cancelled`."
    )
    prompt_tokens: int | None = Field(description="The number of tokens in the prompt.")
    completion_tokens: int | None = Field(description="The number of tokens in the completion.")

    @classmethod
    def of_row(cls, row: GenerationRow) -> Self:
        generation = row.generation
        columns = {name: getattr(generation, name) for name in cls.model_fields if hasattr(generation, name)}
        page = None if generation.completion is None else extract_page(generation.completion, generation.extract)
        return cls(**job_fields(row.job), model=row.model_name, page=page, **columns)


class GenerationBatchOut(BaseModel):
    id: uuid.UUID
    counts: dict[JobStatus, int] = Field(description="The number of jobs with each status.")

    @classmethod
    def of(cls, batch_id: uuid.UUID, counts: Mapping[JobStatus, int]) -> Self:
        return cls(id=batch_id, counts={status: counts.get(status, 0) for status in JobStatus})

    @property
    def final(self) -> bool:
        """Whether all jobs of the batch have finished."""
        return not any(count for status, count in self.counts.items() if not status.final)


class GenerationBatchSubmitted(GenerationBatchOut):
    job_ids: Sequence[uuid.UUID] = Field(description="The ids of the jobs, in the order of the items.")
