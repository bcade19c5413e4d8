import uuid
from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.schemas.common import MAX_INT32, DatasetJobsQuery, Name, QueryParameters
from api.schemas.jobs import JobOut, job_fields
from api.schemas.load_options import LoadOptionsIn, LoadOptionsOut
from api.schemas.prompting import EngineOut, ExtractIn, ExtractOut, PromptIn, PromptOut
from api.schemas.sampling import MAX_NEW_TOKENS, SamplingIn, SamplingOut
from db.queries.evaluations import EvaluationRow
from db.tables.evaluations import EvaluationScore
from db.vocabulary import JobStatus, Split
from models.scoring.names import Baseline, Metric

SortQuery = Annotated[
    str | None,
    Field(
        pattern=f"^-?({'|'.join(Metric)})$",
        description="Sort by the score of this metric, lowest first; with `-` before it, highest first.",
        examples=["-chrf"],
    ),
]


def parse_sort(sort: str | None) -> tuple[Metric | None, bool]:
    """Return the metric that a `sort` parameter names (None without one), and whether the highest score comes first."""
    return (Metric(sort.removeprefix("-")) if sort else None), bool(sort and sort.startswith("-"))


def _unique(metrics: list[Metric]) -> list[Metric]:
    if len(set(metrics)) < len(metrics):
        raise ValueError("must not contain a metric twice")
    return metrics


class EvaluationIn(SamplingIn, LoadOptionsIn, PromptIn, ExtractIn):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "starter", "dataset": "pages", "split": "test", "limit": 100},
                {"model": "starter", "dataset": "pages", "load": {"method": "bitsandbytes", "bits": 8}},
            ]
        }
    )

    name: Name | None = Field(
        None, description="A name by which the evaluation is found. Of several with the same name, the latest is found."
    )
    model: Name = Field(
        description="The name or id of a registered model, or a baseline: `baseline:nearest-neighbour` answers with "
        "the output of the most similar training row, `baseline:constant` with the most typical output of all training "
        "rows."
    )
    dataset: Name = Field(description="The name or id of a dataset.")
    split: Split = Field(Split.TEST, strict=False, description="The split whose rows are predicted.")
    limit: int | None = Field(
        None, ge=1, le=MAX_INT32, description="Evaluate only the first `limit` rows of the split; null: all rows."
    )
    metrics: Annotated[list[Annotated[Metric, Field(strict=False)]], AfterValidator(_unique)] = Field(
        list(Metric),
        min_length=1,
        json_schema_extra={"uniqueItems": True},
        description="The metrics to compute. Default: all.",
    )
    max_new_tokens: int | None = Field(
        None,
        ge=1,
        le=MAX_NEW_TOKENS,
        description="The maximum number of tokens to generate per row. Null: the length of the longest reference; if "
        "`extract` is `html`, 256 more for what is around the page. Set it for a model that thinks first.",
    )


class EvaluationsQuery(DatasetJobsQuery):
    model: Name | None = Field(None, description="Return only evaluations of this model, by name or id, or baseline.")
    sort: SortQuery = None


class OverallScoreOut(BaseModel):
    """The score of one metric over all rows."""

    value: float
    low: float | None = Field(
        description="The lower end of the 95 % bootstrap interval; null with fewer than two rows."
    )
    high: float | None = Field(description="The upper end of the interval.")
    n: int = Field(description="The number of rows that the score covers.")

    @classmethod
    def of(cls, score: EvaluationScore) -> Self:
        return cls.model_validate(score, from_attributes=True)


def _overall_scores(row: EvaluationRow) -> dict[Metric, OverallScoreOut]:
    scores = {score.metric: OverallScoreOut.of(score) for score in row.overall_scores}
    return {metric: scores[metric] for metric in Metric if metric in scores}


class EvaluationOut(SamplingOut, LoadOptionsOut, PromptOut, ExtractOut, EngineOut, JobOut):
    """An evaluation job: the request, and the scores over the rows done so far."""

    name: str | None
    model: str
    dataset: str
    split: Split
    limit: int | None
    metrics: list[Metric]
    rows: int = Field(description="The number of rows to predict.")
    rows_done: int = Field(description="The number of rows predicted and scored so far.")
    partial: bool = Field(description="Whether the job finished before all rows were done.")
    scores: dict[Metric, OverallScoreOut] = Field(
        description="The overall scores. While the job runs they are updated from time to time, so they may cover "
        "fewer rows than `rows_done`. `chrf` is the corpus chrF, from 0 to 100; the others are means over the rows, "
        "from 0 to 1."
    )
    chrf_signature: str | None = Field(description="sacrebleu's signature: the version and parameters of chrF.")

    @classmethod
    def of_row(cls, row: EvaluationRow) -> Self:
        evaluation = row.evaluation
        final = JobStatus(row.job.status).final
        return cls(
            **job_fields(row.job),
            **{name: getattr(evaluation, name) for name in _COLUMNS},
            name=evaluation.name,
            model=evaluation.model_name,
            dataset=row.dataset.name,
            split=evaluation.split,
            limit=evaluation.limit,
            metrics=[Metric(metric) for metric in evaluation.metrics],
            rows=evaluation.rows,
            rows_done=evaluation.rows_done,
            partial=final and evaluation.rows_done < evaluation.rows,
            scores=_overall_scores(row),
            chrf_signature=next((score.signature for score in row.overall_scores if score.signature), None),
        )


_COLUMNS = [
    name for base in (SamplingOut, LoadOptionsOut, PromptOut, ExtractOut, EngineOut) for name in base.model_fields
]


class LeaderboardQuery(QueryParameters):
    dataset: Name = Field(description="The name or id of a dataset.")
    split: Split = Field(Split.TEST, description="The split of the dataset.")
    rows: int | None = Field(
        None,
        ge=1,
        le=MAX_INT32,
        description="Rank evaluations of the split's first `rows` rows. Default: evaluations of all rows.",
    )
    sort: Metric = Field(Metric.EXACT_MATCH, description="The metric to rank by.")
    limit: int = Field(100, ge=1, le=100, description="The maximum number of items to return.")


class LeaderboardItemOut(LoadOptionsOut, PromptOut, ExtractOut, EngineOut):
    """The latest evaluation of a model with these load options, prompts, part that is the page, and engine."""

    evaluation_id: uuid.UUID
    model: str
    finished_at: datetime
    scores: dict[Metric, OverallScoreOut]

    @classmethod
    def of(cls, row: EvaluationRow) -> Self:
        assert row.job.finished_at is not None
        return cls(
            evaluation_id=row.job.id,
            model=row.evaluation.model_name,
            **{name: getattr(row.evaluation, name) for name in _CONTENDER},
            finished_at=row.job.finished_at,
            scores=_overall_scores(row),
        )


_CONTENDER = [name for base in (LoadOptionsOut, PromptOut, ExtractOut, EngineOut) for name in base.model_fields]


class LeaderboardOut(BaseModel):
    """The latest evaluation of each model on the same rows, best first."""

    dataset: str
    split: Split
    rows: int = Field(description="The number of rows that each evaluation covers.")
    sort: Metric
    items: list[LeaderboardItemOut]
    missing_baselines: list[Baseline] = Field(
        description="Baselines that were not evaluated on these rows. Scores mean little without them."
    )
