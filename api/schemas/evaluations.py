import uuid
from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.schemas.common import Name
from api.schemas.jobs import JobOut, job_fields
from api.schemas.load_options import LoadOptions, WithLoadOptionsIn, WithLoadOptionsOut
from api.schemas.sampling import SamplingIn, SamplingOut
from db.queries.evaluations import EvaluationRow
from db.tables.evaluations import EvaluationScore, Prediction
from db.vocabulary import JobStatus, Split
from models.scoring.names import Baseline, Metric


def _unique(metrics: list[Metric]) -> list[Metric]:
    if len(set(metrics)) < len(metrics):
        raise ValueError("must not name a metric twice")
    return metrics


class EvaluationIn(SamplingIn, WithLoadOptionsIn):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "starter", "dataset": "pages", "split": "test", "limit": 100},
                {"model": "starter", "dataset": "pages", "load": {"method": "bitsandbytes", "bits": 8}},
            ]
        }
    )

    model: Name = Field(
        description="A registered model, or a baseline: `baseline:nearest-neighbour` answers with the output of the "
        "most similar training row, `baseline:constant` always with the most typical output of all."
    )
    dataset: Name = Field(description="The name of a dataset.")
    split: Split = Field(Split.TEST, strict=False)
    limit: int | None = Field(None, ge=1, le=2**31 - 1, description="The split's first rows alone; null: all.")
    metrics: Annotated[list[Annotated[Metric, Field(strict=False)]], AfterValidator(_unique)] = Field(
        list(Metric), min_length=1, json_schema_extra={"uniqueItems": True}
    )
    max_new_tokens: int | None = Field(
        None, ge=1, le=131_072, description="Null: what the longest reference of the rows takes."
    )


class OverallScoreOut(BaseModel):
    """A metric over all rows."""

    value: float
    low: float | None = Field(description="Of the 95 % bootstrap interval; null with fewer than two rows.")
    high: float | None
    n: int = Field(description="Rows that it is the figure of.")

    @classmethod
    def of(cls, figure: EvaluationScore) -> Self:
        return cls.model_validate(figure, from_attributes=True)


def _figures(row: EvaluationRow) -> dict[Metric, OverallScoreOut]:
    found = {figure.metric: OverallScoreOut.of(figure) for figure in row.overall_scores}
    return {metric: found[metric] for metric in Metric if metric in found}


class EvaluationOut(SamplingOut, WithLoadOptionsOut, JobOut):
    """An evaluation job: what was asked, and what it came to so far."""

    model: str
    dataset: str
    split: Split
    limit: int | None
    metrics: list[Metric]
    rows: int = Field(description="How many there are to predict.")
    rows_done: int
    partial: bool = Field(description="Whether it ended before all rows were done.")
    scores: dict[Metric, OverallScoreOut] = Field(
        description="Over the rows done. While it runs, they lag behind `rows_done`. chrF is that of the whole corpus, "
        "0 to 100; of the others, 0 to 1, the mean."
    )
    chrf_signature: str | None = Field(description="sacrebleu's: how the chrF was computed.")

    @classmethod
    def of_row(cls, row: EvaluationRow) -> Self:
        asked = row.evaluation
        final = JobStatus(row.job.status).final
        return cls(
            **job_fields(row.job),
            **{name: getattr(asked, name) for name in SamplingOut.model_fields},
            load=asked.load,
            model=asked.model_name,
            dataset=row.dataset.name,
            split=asked.split,
            limit=asked.limit,
            metrics=[Metric(metric) for metric in asked.metrics],
            rows=asked.rows,
            rows_done=asked.rows_done,
            partial=final and asked.rows_done < asked.rows,
            scores=_figures(row),
            chrf_signature=next((figure.signature for figure in row.overall_scores if figure.signature), None),
        )


class ScoresOut(BaseModel):
    """The scores of one row; null by a metric that was not asked for."""

    exact_match: float | None
    normalized_exact_match: float | None
    chrf: float | None
    validity: float | None
    parse_errors: int | None = Field(description="HTML5 parse errors of the completion.")
    structural_similarity: float | None
    text_similarity: float | None


class PredictionOut(ScoresOut):
    """A row of the dataset, what the model made of it, and the scores."""

    row: int = Field(description="Its number in the split, from 0.")
    prompt: str
    input: str
    completion: str = Field(description="The prediction.")
    reference: str = Field(description="The ground truth.")
    finish_reason: str = Field(description="`stop`, `length`, or `error`.")
    error: str | None = Field(description="Why the model could not be asked; its completion counts as empty.")
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_seconds: float
    created_at: datetime

    @classmethod
    def of(cls, prediction: Prediction) -> Self:
        return cls.model_validate(prediction, from_attributes=True)


class PredictionsOut(BaseModel):
    items: list[PredictionOut]
    next: int | None = Field(description="Pass as `after` for the next page; null on the last one.")


class DifferenceOut(BaseModel):
    """A metric over the rows that both have."""

    a: float
    b: float
    difference: float = Field(description="b less a.")
    low: float | None = Field(description="Of its 95 % interval, a paired bootstrap over the rows.")
    high: float | None


class McNemarOut(BaseModel):
    """Whether the exact matches differ by more than chance."""

    only_a: int = Field(description="Rows that a alone matches.")
    only_b: int
    p_value: float = Field(description="Two-sided, exact.")


class ChangedRowOut(BaseModel):
    row: int
    prompt: str
    input: str
    reference: str
    a_completion: str
    b_completion: str
    a: ScoresOut
    b: ScoresOut

    @classmethod
    def of(cls, a: Prediction, b: Prediction) -> Self:
        return cls(
            row=a.row,
            prompt=a.prompt,
            input=a.input,
            reference=a.reference,
            a_completion=a.completion,
            b_completion=b.completion,
            a=ScoresOut.model_validate(a, from_attributes=True),
            b=ScoresOut.model_validate(b, from_attributes=True),
        )


class ChangedRowsOut(BaseModel):
    metric: Metric = Field(description="By which the rows' scores differ.")
    items: list[ChangedRowOut]
    next: int | None = Field(description="Pass as `after` for the next page; null on the last one.")


class ComparisonOut(BaseModel):
    """Two evaluations over the rows that both have."""

    a: uuid.UUID
    b: uuid.UUID
    rows: int = Field(description="Rows that both have.")
    metrics: dict[Metric, DifferenceOut]
    mcnemar: McNemarOut | None = Field(description="Null if they were not both scored by exact match.")
    changed: ChangedRowsOut


class LeaderboardItemOut(BaseModel):
    evaluation_id: uuid.UUID
    model: str
    load: LoadOptions | None = Field(description="How it was loaded; a model stands here once for each way.")
    finished_at: datetime
    scores: dict[Metric, OverallScoreOut]

    @classmethod
    def of(cls, row: EvaluationRow) -> Self:
        assert row.job.finished_at is not None
        return cls(
            evaluation_id=row.job.id,
            model=row.evaluation.model_name,
            load=row.evaluation.load,
            finished_at=row.job.finished_at,
            scores=_figures(row),
        )


class LeaderboardOut(BaseModel):
    """Each model's latest evaluation over the same rows, the best first."""

    dataset: str
    split: Split
    rows: int
    sort: Metric
    items: list[LeaderboardItemOut]
    missing_baselines: list[Baseline] = Field(description="Not evaluated on these rows: read no score without them.")
