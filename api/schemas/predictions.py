"""The predictions of an evaluation, row by row, and the comparison of two evaluations."""

import uuid
from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field

from api.schemas.common import MAX_INT32, MessageOut, Name, QueryParameters, Text
from api.schemas.evaluations import SortQuery
from api.schemas.prompting import EngineOut
from db.queries.predictions import Filter
from db.tables.evaluations import Prediction
from models.prompts.extraction import extract_page
from models.scoring.names import Metric


class PredictionFilters(QueryParameters):
    """Query parameters that select predictions. All that are given must hold."""

    exact_match: bool | None = Field(None, description="Whether the page equals the reference.")
    normalized_exact_match: bool | None = Field(
        None, description="Whether the page equals the reference after normalization."
    )
    valid: bool | None = Field(None, description="Whether the page has no HTML5 parse errors.")
    min_chrf: float | None = Field(None, description="The minimum chrF.")
    max_chrf: float | None = Field(None, description="The maximum chrF.")
    min_parse_errors: float | None = Field(None, description="The minimum number of HTML5 parse errors.")
    max_parse_errors: float | None = Field(None, description="The maximum number of HTML5 parse errors.")
    min_structural_similarity: float | None = Field(None, description="The minimum structural similarity.")
    max_structural_similarity: float | None = Field(None, description="The maximum structural similarity.")
    min_text_similarity: float | None = Field(None, description="The minimum text similarity.")
    max_text_similarity: float | None = Field(None, description="The maximum text similarity.")
    text: Text | None = Field(
        None, min_length=1, max_length=1000, description="A text that the prompt or the completion contains."
    )

    def filter(self) -> Filter:
        """These parameters as ranges of scores, for the database query."""
        flags = {"exact_match": self.exact_match, "normalized_exact_match": self.normalized_exact_match}
        ranges: dict[str, tuple[float | None, float | None]] = {
            name: (float(flag), float(flag))
            for name, flag in (flags | {"validity": self.valid}).items()
            if flag is not None
        }
        for name in ("chrf", "parse_errors", "structural_similarity", "text_similarity"):
            ranges[name] = (getattr(self, f"min_{name}"), getattr(self, f"max_{name}"))
        return Filter(ranges, self.text)


class PredictionsQuery(PredictionFilters):
    sort: SortQuery = None
    limit: int = Field(20, ge=1, le=100, description="The maximum number of items to return.")
    after: int | None = Field(None, ge=0, le=MAX_INT32, description="The value of `next` on the previous page.")


class ScoresOut(BaseModel):
    """The scores of one row. A metric that the evaluation does not compute is null."""

    exact_match: float | None = Field(description="1 if the page equals the reference, else 0.")
    normalized_exact_match: float | None = Field(
        description="1 if the page equals the reference after normalization, else 0."
    )
    chrf: float | None = Field(description="chrF of the row, from 0 to 100.")
    validity: float | None = Field(description="1 if the page has no HTML5 parse errors, else 0.")
    parse_errors: int | None = Field(description="The number of HTML5 parse errors in the page.")
    structural_similarity: float | None = Field(description="Similarity of the element trees, from 0 to 1.")
    text_similarity: float | None = Field(description="Similarity of the visible texts, from 0 to 1.")


class PredictionOut(EngineOut, ScoresOut):
    """A row of the dataset, the model's completion for it, and the scores of the page in the completion."""

    row: int = Field(description="The row's number in the split, from 0.")
    context: list[MessageOut] | None = Field(description="The messages of a chat before `prompt`, in order.")
    prompt: str = Field(description="The row's instruction. In a chat, the last message of the user.")
    input: str
    completion: str = Field(description="What the model generated.")
    page: str = Field(description="The page in the completion, as `extract` of the evaluation says. It is scored.")
    reference: str = Field(description="The row's output.")
    finish_reason: str = Field(description="`stop`, `length` or `error`.")
    error: str | None = Field(
        description="Why the model could not answer, for example a prompt longer than its context. The row counts as "
        "an empty completion."
    )
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_seconds: float = Field(description="The time from submitting the row to the engine to its completion.")
    created_at: datetime

    @classmethod
    def of(cls, prediction: Prediction, extract: str | None) -> Self:
        """`extract` is the evaluation's."""
        columns = {name: getattr(prediction, name) for name in cls.model_fields if name != "page"}
        return cls(**columns, page=extract_page(prediction.completion, extract))


class PredictionsOut(BaseModel):
    """One page of predictions."""

    items: list[PredictionOut]
    next: int | None = Field(description="The value of `after` for the next page; null on the last page.")


class ComparisonQuery(QueryParameters):
    a: Name = Field(description="The name or id of an evaluation.")
    b: Name = Field(description="The name or id of another evaluation on the same dataset and split.")
    metric: Metric = Field(
        Metric.EXACT_MATCH, description="`changed` lists the rows whose scores of this metric differ."
    )
    limit: int = Field(20, ge=1, le=100, description="The maximum number of changed rows to return.")
    after: int | None = Field(None, ge=0, le=MAX_INT32, description="The value of `changed.next` on the previous page.")


class DifferenceOut(BaseModel):
    """One metric over the rows that both evaluations have."""

    a: float = Field(description="The score of evaluation a.")
    b: float = Field(description="The score of evaluation b.")
    difference: float = Field(description="b - a.")
    low: float | None = Field(
        description="The lower end of the difference's 95 % interval, from a paired bootstrap over the rows."
    )
    high: float | None = Field(description="The upper end of the interval.")


class McNemarOut(BaseModel):
    """McNemar's exact test of whether the exact matches of two evaluations differ by more than chance."""

    only_a: int = Field(description="The number of rows that only evaluation a matches.")
    only_b: int = Field(description="The number of rows that only evaluation b matches.")
    p_value: float = Field(description="The two-sided p-value.")


class ChangedRowOut(BaseModel):
    """A row whose score differs between the two evaluations."""

    row: int
    context: list[MessageOut] | None
    prompt: str
    input: str
    reference: str
    a_completion: str
    b_completion: str
    a_page: str
    b_page: str
    a: ScoresOut
    b: ScoresOut

    @classmethod
    def of(cls, a: Prediction, b: Prediction, extract_a: str | None, extract_b: str | None) -> Self:
        return cls(
            row=a.row,
            context=a.context,
            prompt=a.prompt,
            input=a.input,
            reference=a.reference,
            a_completion=a.completion,
            b_completion=b.completion,
            a_page=extract_page(a.completion, extract_a),
            b_page=extract_page(b.completion, extract_b),
            a=ScoresOut.model_validate(a, from_attributes=True),
            b=ScoresOut.model_validate(b, from_attributes=True),
        )


class ChangedRowsOut(BaseModel):
    metric: Metric = Field(description="The metric whose scores differ.")
    items: list[ChangedRowOut]
    next: int | None = Field(description="The value of `after` for the next page; null on the last page.")


class ComparisonOut(BaseModel):
    """Two evaluations over the rows that both have."""

    a: uuid.UUID
    b: uuid.UUID
    rows: int = Field(description="The number of rows that both evaluations have.")
    metrics: dict[Metric, DifferenceOut] = Field(description="The metrics that both evaluations have.")
    mcnemar: McNemarOut | None = Field(description="Null unless both evaluations have the metric `exact_match`.")
    changed: ChangedRowsOut = Field(description="The rows whose scores differ.")
