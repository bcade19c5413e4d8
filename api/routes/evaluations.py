import uuid
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from api.dependencies import AnyCaller, DatabaseDep, GuardedRoute, Paging
from api.errors import document_problems, invalid, not_found
from api.prediction_exports import MEDIA_TYPES, ExportFormat, export
from api.references import dataset_with_rows
from api.schemas.common import Name, PageOut, Text
from api.schemas.evaluations import (
    ChangedRowOut,
    ChangedRowsOut,
    ComparisonOut,
    DifferenceOut,
    EvaluationIn,
    EvaluationOut,
    McNemarOut,
    PredictionOut,
    PredictionsOut,
)
from api.schemas.sampling import SamplingOut
from api.submission import SubmitterDep
from db.queries import evaluations, jobs, models, predictions
from db.queries.evaluations import EvaluationRow
from db.session import Database
from db.tables.datasets import Dataset
from db.tables.evaluations import Evaluation
from db.tables.jobs import Job
from db.vocabulary import JobKind, JobStatus
from models.scoring.names import Baseline, Metric

router = APIRouter(
    prefix="/v1/evaluations", tags=["evaluations"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)

_METRICS = "|".join(Metric)
MetricSort = Annotated[
    str | None,
    Query(
        pattern=f"^-?({_METRICS})$",
        description="A metric, lowest first; with `-` before it highest first.",
        examples=["-chrf"],
    ),
]
AfterRow = Annotated[int | None, Query(ge=0, le=2**31 - 1, description="`next` of the page before.")]
PageLimit = Annotated[int, Query(ge=1, le=100, description="Items on a page.")]
Low = Annotated[float | None, Query(description="This or more.", allow_inf_nan=False)]
High = Annotated[float | None, Query(description="This or less.", allow_inf_nan=False)]


def sorting(sort: str | None) -> tuple[Metric | None, bool]:
    """The metric to sort by, and whether the highest comes first."""
    return (Metric(sort.removeprefix("-")) if sort else None), bool(sort and sort.startswith("-"))


async def _wanted(
    exact_match: bool | None = None,
    normalized_exact_match: bool | None = None,
    valid: bool | None = None,
    min_chrf: Low = None,
    max_chrf: High = None,
    min_parse_errors: Low = None,
    max_parse_errors: High = None,
    min_structural_similarity: Low = None,
    max_structural_similarity: High = None,
    min_text_similarity: Low = None,
    max_text_similarity: High = None,
    text: Annotated[
        Text | None, Query(min_length=1, max_length=1000, description="Stands in the prompt or the completion.")
    ] = None,
) -> predictions.Filter:
    flags = {"exact_match": exact_match, "normalized_exact_match": normalized_exact_match, "validity": valid}
    ranges: dict[str, tuple[float | None, float | None]] = {
        "chrf": (min_chrf, max_chrf),
        "parse_errors": (min_parse_errors, max_parse_errors),
        "structural_similarity": (min_structural_similarity, max_structural_similarity),
        "text_similarity": (min_text_similarity, max_text_similarity),
    }
    ranges |= {name: (float(flag), float(flag)) for name, flag in flags.items() if flag is not None}
    return predictions.Filter(ranges, text)


Wanted = Annotated[predictions.Filter, Depends(_wanted)]


@router.post(
    "", status_code=202, responses={200: {"model": EvaluationOut}, **document_problems(400, 409, 413, 415, 429)}
)
async def create(
    body: EvaluationIn, caller: AnyCaller, database: DatabaseDep, submitter: SubmitterDep
) -> EvaluationOut:
    """Have a model, or a baseline, predict the rows of a dataset's split, and score what it predicts.

    The predictions can be read while it runs. A cancelled evaluation keeps those that it has.
    """

    def show(job_id: uuid.UUID) -> EvaluationOut:
        return EvaluationOut.of_row(_find(database, job_id))

    return await submitter.one(caller, JobKind.EVALUATION, body, partial(_add, body), show, router.prefix)


@router.get("")
def index(
    _: AnyCaller,
    database: DatabaseDep,
    paging: Paging,
    model: Name | None = None,
    dataset: Name | None = None,
    status: JobStatus | None = None,
    sort: MetricSort = None,
) -> PageOut[EvaluationOut]:
    """Everybody's evaluations, newest first. `sort` leaves out those that have no such score."""
    metric, descending = sorting(sort)
    with database.read() as session:
        page = evaluations.page(
            session,
            model=model,
            dataset=dataset,
            status=status,
            sort=metric,
            descending=descending,
            limit=paging.limit,
            after=paging.after,
        )
    return PageOut.of(page.map(EvaluationOut.of_row))


@router.get("/compare", responses=document_problems(404))
def compare(
    _: AnyCaller,
    database: DatabaseDep,
    a: uuid.UUID,
    b: uuid.UUID,
    metric: Annotated[Metric, Query(description="The changed rows are those whose score by it differs.")] = (
        Metric.EXACT_MATCH
    ),
    limit: PageLimit = 20,
    after: AfterRow = None,
) -> ComparisonOut:
    """Two evaluations over the same rows: how far they differ, whether by more than chance, and in which rows."""
    first, second = _find(database, a, "evaluation a"), _find(database, b, "evaluation b")
    if (first.dataset.sha256, first.evaluation.split) != (second.dataset.sha256, second.evaluation.split):
        raise invalid("b", "is of other rows: both must be of the same dataset and split")
    asked = [name for name in first.evaluation.metrics if name in second.evaluation.metrics]
    if not asked:
        raise invalid("b", "shares no metric with a")
    if metric not in asked:
        raise invalid("metric", f"both were scored by: {', '.join(asked)}")
    with database.read() as session:
        left, right = predictions.paired_scores(session, a, b, asked)
        changed, further = predictions.changed(session, a, b, metric, limit=limit, after=-1 if after is None else after)
    from pagewright import statistics

    found = statistics.compare(left.by_metric, right.by_metric, left.chrf_statistics, right.chrf_statistics)
    differences = {Metric(name): DifferenceOut.model_validate(one, from_attributes=True) for name, one in found.items()}
    return ComparisonOut(
        a=a,
        b=b,
        rows=len(left.by_metric[asked[0]]),
        metrics=differences,
        mcnemar=_mcnemar(left, right),
        changed=ChangedRowsOut(metric=metric, items=[ChangedRowOut.of(*pair) for pair in changed], next=further),
    )


@router.get("/{evaluation_id}", responses=document_problems(404))
def show(evaluation_id: uuid.UUID, _: AnyCaller, database: DatabaseDep) -> EvaluationOut:
    return EvaluationOut.of_row(_find(database, evaluation_id))


@router.get("/{evaluation_id}/predictions", responses=document_problems(404))
def index_predictions(
    evaluation_id: uuid.UUID,
    _: AnyCaller,
    database: DatabaseDep,
    wanted: Wanted,
    sort: MetricSort = None,
    limit: PageLimit = 20,
    after: AfterRow = None,
) -> PredictionsOut:
    """The rows that are done, in their order or that of a score."""
    _find(database, evaluation_id)
    metric, descending = sorting(sort)
    with database.read() as session:
        found, further = predictions.page(
            session, evaluation_id, wanted, sort=metric, descending=descending, limit=limit, after=after
        )
    return PredictionsOut(items=[PredictionOut.of(prediction) for prediction in found], next=further)


@router.get(
    "/{evaluation_id}/predictions.{format}",
    response_class=StreamingResponse,
    responses={200: {"content": {media_type: {} for media_type in MEDIA_TYPES.values()}}, **document_problems(404)},
)
def export_predictions(
    evaluation_id: uuid.UUID,
    format: ExportFormat,
    request: Request,
    _: AnyCaller,
    database: DatabaseDep,
    wanted: Wanted,
) -> Response:
    """All the rows that are done, or those that the filters leave, as one file in the order of the rows."""
    _find(database, evaluation_id)
    headers = {"Content-Disposition": f'attachment; filename="predictions-{evaluation_id}.{format}"'}
    if request.scope.get("head"):
        return Response(headers=headers, media_type=MEDIA_TYPES[format])
    batches = predictions.export(database, evaluation_id, wanted)
    return StreamingResponse(export(format, batches), headers=headers, media_type=MEDIA_TYPES[format])


def _add(body: EvaluationIn, session: Session, job: Job) -> None:
    dataset = dataset_with_rows(session, body.dataset, body.split)
    rows = dataset.rows_of(body.split)
    evaluation = Evaluation(
        job_id=job.id,
        model_id=_model_id(session, body, dataset),
        model_name=body.model,
        dataset_id=dataset.id,
        split=body.split,
        limit=body.limit,
        rows=min(rows, body.limit or rows),
        rows_done=0,
        metrics=[metric.value for metric in Metric if metric in body.metrics],
        load=body.loading(),
        **{name: getattr(body, name) for name in SamplingOut.model_fields},
    )
    jobs.add(session, job, evaluation)


def _model_id(session: Session, body: EvaluationIn, dataset: Dataset) -> uuid.UUID | None:
    if body.model in list(Baseline):
        if body.load is not None:
            raise invalid("load", "a baseline is no model that could be loaded")
        if not dataset.train_rows:
            raise invalid("model", "a baseline takes its answers from the train split, which has no rows")
        return None
    found = models.get_by_name(session, body.model)
    if found is None:
        raise invalid("model", f"no model of that name is registered; the baselines are: {', '.join(Baseline)}")
    return found.id


def _find(database: Database, job_id: uuid.UUID, what: str = "evaluation") -> EvaluationRow:
    with database.read() as session:
        row = evaluations.get(session, job_id)
    if row is None:
        raise not_found(what)
    return row


def _mcnemar(left: predictions.ScoreColumns, right: predictions.ScoreColumns) -> McNemarOut | None:
    from pagewright import statistics

    if Metric.EXACT_MATCH not in left.by_metric:
        return None
    pairs = list(zip(left.by_metric[Metric.EXACT_MATCH], right.by_metric[Metric.EXACT_MATCH], strict=True))
    only_a, only_b = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    return McNemarOut(only_a=only_a, only_b=only_b, p_value=statistics.mcnemar(only_a, only_b))
