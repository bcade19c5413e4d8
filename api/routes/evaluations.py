"""Evaluations: jobs in which a model, or a baseline, predicts the rows of a dataset, and the predictions are scored.

Everyone with an API key can read every evaluation. Only its owner and admins can read and cancel its job.
"""

import uuid
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from api.dependencies import AnyCaller, DatabaseDep, GuardedRoute
from api.errors import document_problems, invalid, not_found
from api.prompting import check_may_prompt, prompt_columns
from api.queued_jobs import QueuedJobsDep
from api.references import Reference, dataset_with_rows, find_job_id, refuse_load_options, unknown_model
from api.schemas.common import PageOut
from api.schemas.evaluations import EvaluationIn, EvaluationOut, EvaluationsQuery, parse_sort
from api.schemas.predictions import (
    ChangedRowOut,
    ChangedRowsOut,
    ComparisonOut,
    ComparisonQuery,
    DifferenceOut,
    McNemarOut,
)
from api.schemas.prompting import ExtractIn, PromptIn
from api.schemas.sampling import SamplingOut
from api.submission import SubmitterDep
from db.queries import evaluations, jobs, models, predictions
from db.queries.evaluations import EvaluationRow
from db.session import Database
from db.tables.datasets import Dataset
from db.tables.evaluations import Evaluation
from db.tables.jobs import Job
from db.tables.models import Model
from db.vocabulary import JobKind
from models.scoring.names import Baseline, Metric

router = APIRouter(
    prefix="/v1/evaluations", tags=["evaluations"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)


@router.post(
    "",
    summary="Create an evaluation",
    status_code=202,
    responses={200: {"model": EvaluationOut}, **document_problems(400, 403, 409, 413, 415, 429)},
)
async def create_evaluation(
    body: EvaluationIn, caller: AnyCaller, database: DatabaseDep, submitter: SubmitterDep
) -> EvaluationOut:
    """Submit a job in which a model, or a baseline, predicts the rows of a dataset's split. Every prediction is scored.

    The predictions can be read while the job runs. A cancelled evaluation keeps the predictions made until then.
    """
    check_may_prompt(caller, body)

    def find(job_id: uuid.UUID) -> EvaluationOut:
        return EvaluationOut.of_row(find_evaluation(database, str(job_id)))

    return await submitter.submit_one(caller, JobKind.EVALUATION, body, partial(_add, body), find, router.prefix)


@router.get("", summary="List evaluations")
def list_evaluations(
    _: AnyCaller, database: DatabaseDep, query: Annotated[EvaluationsQuery, Query()]
) -> PageOut[EvaluationOut]:
    """List everyone's evaluations, newest first.

    With `sort`, evaluations without a score of that metric are left out.
    """
    metric, descending = parse_sort(query.sort)
    with database.read() as session:
        page = evaluations.page(
            session,
            named=query.named(),
            status=query.status,
            sort=metric,
            descending=descending,
            limit=query.limit,
            after=query.after,
        )
    return PageOut.of(page.map(EvaluationOut.of_row))


@router.get("/compare", summary="Compare two evaluations", responses=document_problems(404))
def compare_evaluations(
    _: AnyCaller, database: DatabaseDep, query: Annotated[ComparisonQuery, Query()]
) -> ComparisonOut:
    """Compare two evaluations over the rows that both have: the difference of each metric with its confidence interval,
    McNemar's test on the exact matches, and the rows whose scores differ."""
    from pagewright import statistics

    pair = find_evaluation(database, query.a, "evaluation a"), find_evaluation(database, query.b, "evaluation b")
    shared = _shared_metrics(*pair, query.metric)
    extracts = [row.evaluation.extract for row in pair]
    with database.read() as session:
        a_id, b_id = (row.job.id for row in pair)
        a, b = predictions.paired_scores(session, a_id, b_id, shared)
        after = -1 if query.after is None else query.after
        changed, next_row = predictions.changed(session, a_id, b_id, query.metric, limit=query.limit, after=after)
    differences = statistics.compare(a.by_metric, b.by_metric, a.chrf_statistics, b.chrf_statistics)
    return ComparisonOut(
        a=a_id,
        b=b_id,
        rows=len(a.by_metric[shared[0]]),
        metrics={
            Metric(name): DifferenceOut.model_validate(difference, from_attributes=True)
            for name, difference in differences.items()
        },
        mcnemar=_mcnemar(a, b),
        changed=ChangedRowsOut(
            metric=query.metric, items=[ChangedRowOut.of(*rows, *extracts) for rows in changed], next=next_row
        ),
    )


@router.get("/{evaluation:reference}", summary="Get an evaluation", responses=document_problems(404))
def get_evaluation(evaluation: Reference, _: AnyCaller, database: DatabaseDep, queued: QueuedJobsDep) -> EvaluationOut:
    """Get an evaluation with its scores."""
    return queued.explain(EvaluationOut.of_row(find_evaluation(database, evaluation)))


def find_evaluation(database: Database, reference: str, what: str = "evaluation") -> EvaluationRow:
    """Return the evaluation with this id, or the latest one with this name.

    Raises a 404 Problem, whose message calls it `what`, if there is no such evaluation.
    """
    with database.read() as session:
        job_id = find_job_id(session, reference, kind=JobKind.EVALUATION, owner=None, what=what)
        row = evaluations.get(session, job_id)
    if row is None:
        raise not_found(what)
    return row


def _add(body: EvaluationIn, session: Session, job: Job) -> None:
    dataset = dataset_with_rows(session, body.dataset, body.split)
    rows = dataset.rows_of(body.split)
    model = _model(session, body, dataset)
    if model:
        refuse_load_options(session, body, model)
    evaluation = Evaluation(
        job_id=job.id,
        model_id=model and model.id,
        name=body.name,
        model_name=model.name if model else body.model,
        dataset_id=dataset.id,
        split=body.split,
        limit=body.limit,
        rows=min(rows, body.limit or rows),
        rows_done=0,
        metrics=[metric.value for metric in Metric if metric in body.metrics],
        load=body.load_options(),
        extract=body.extract,
        **(prompt_columns(session, body, model) if model else {}),
        **{name: getattr(body, name) for name in SamplingOut.model_fields},
    )
    jobs.add(session, job, evaluation)


def _model(session: Session, body: EvaluationIn, dataset: Dataset) -> Model | None:
    """Return the model, or None for a baseline."""
    if body.model in list(Baseline):
        if body.load is not None:
            raise invalid("load", "a baseline has no weights to load")
        for name in (*PromptIn.model_fields, *ExtractIn.model_fields):
            if getattr(body, name) is not None:
                raise invalid(name, "a baseline has no prompts")
        if not dataset.train_rows:
            raise invalid("model", "a baseline answers with train rows, and the dataset's train split has no rows")
        return None
    model = models.find(session, body.model)
    if model is None:
        raise unknown_model(session, body.model, more=f"; the baselines are {', '.join(Baseline)}")
    return model


def _shared_metrics(a: EvaluationRow, b: EvaluationRow, metric: Metric) -> list[str]:
    """Return the metrics of both evaluations. Raises a Problem if the two can't be compared by `metric`."""
    if (a.dataset.sha256, a.evaluation.split) != (b.dataset.sha256, b.evaluation.split):
        raise invalid("b", "evaluation b has other rows than evaluation a: they must share dataset and split")
    shared = [metric for metric in a.evaluation.metrics if metric in b.evaluation.metrics]
    if not shared:
        raise invalid("b", "evaluation b shares no metric with evaluation a")
    if metric not in shared:
        raise invalid("metric", f"the evaluations share these metrics: {', '.join(shared)}")
    return shared


def _mcnemar(a: predictions.ScoreColumns, b: predictions.ScoreColumns) -> McNemarOut | None:
    from pagewright import statistics

    if Metric.EXACT_MATCH not in a.by_metric:
        return None
    pairs = list(zip(a.by_metric[Metric.EXACT_MATCH], b.by_metric[Metric.EXACT_MATCH], strict=True))
    only_a, only_b = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    return McNemarOut(only_a=only_a, only_b=only_b, p_value=statistics.mcnemar(only_a, only_b))
