"""Queries about evaluations and their overall scores; `db.queries.predictions` has the rows."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, cast, delete, func, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from db.pages import Page, fetch_page
from db.tables.datasets import Dataset
from db.tables.evaluations import CHRF, Evaluation, EvaluationScore
from db.tables.jobs import Job
from db.tables.models import Model
from db.vocabulary import JobStatus, Split


@dataclass(frozen=True)
class EvaluationRow:
    """An evaluation with what one HTTP representation shows."""

    job: Job
    evaluation: Evaluation
    dataset: Dataset
    figures: Sequence[EvaluationScore]


def add(session: Session, job: Job, evaluation: Evaluation) -> None:
    session.add(job)
    session.flush()
    session.add(evaluation)
    session.flush()


def get(session: Session, job_id: uuid.UUID) -> EvaluationRow | None:
    """The evaluation, whoever submitted it: its results are for everybody to read."""
    found = _with_figures(session, session.execute(_joined().where(Evaluation.job_id == job_id)).all())
    return found[0] if found else None


def work(session: Session, job_id: uuid.UUID) -> tuple[Evaluation, Dataset, Model | None]:
    """What a worker has to know: no model means a baseline."""
    row = session.execute(
        select(Evaluation, Dataset, Model)
        .join(Dataset, Dataset.id == Evaluation.dataset_id)
        .outerjoin(Model, Model.id == Evaluation.model_id)
        .where(Evaluation.job_id == job_id)
    ).one()
    return row[0], row[1], row[2]


def page(
    session: Session,
    *,
    model: str | None,
    dataset: str | None,
    status: JobStatus | None,
    sort: str | None,
    descending: bool,
    limit: int,
    after: uuid.UUID | None,
) -> Page[EvaluationRow]:
    """Evaluations, newest first; with `sort` those that have the metric's figure, in its order."""
    statement = _joined()
    if model is not None:
        statement = statement.where(Evaluation.model_name == model)
    if dataset is not None:
        statement = statement.where(Dataset.name == dataset)
    if status is not None:
        statement = statement.where(Job.status == status)
    if sort is None:
        found = fetch_page(session, statement, Job.id, limit=limit, after=after)
        return Page(_with_figures(session, found.items), found.next)
    order = tuple_(EvaluationScore.value, EvaluationScore.job_id)
    statement = statement.join(
        EvaluationScore, (EvaluationScore.job_id == Evaluation.job_id) & (EvaluationScore.metric == sort)
    ).order_by(*(column.desc() if descending else column for column in order))
    if after is not None:
        last = session.get(EvaluationScore, (after, sort))
        if last is None:
            return Page([], None)
        seen = tuple_(last.value, last.job_id)
        statement = statement.where(order < seen if descending else order > seen)
    rows = session.execute(statement.limit(limit + 1)).all()
    items = _with_figures(session, rows[:limit])
    return Page(items, items[-1].job.id if len(rows) > limit else None)


def leaderboard(
    session: Session, dataset_id: uuid.UUID, split: Split, rows: int, *, sort: str, limit: int
) -> Sequence[EvaluationRow]:
    """Each model's latest evaluation that succeeded over just these rows, the best by `sort` first.

    A model that is loaded in another way is another model here.
    """
    contender = [Evaluation.model_name, cast(Evaluation.load, Text)]
    latest = (
        select(
            Evaluation.job_id,
            func.row_number().over(partition_by=contender, order_by=Evaluation.job_id.desc()).label("age"),
        )
        .join(Job, Job.id == Evaluation.job_id)
        .join(EvaluationScore, (EvaluationScore.job_id == Evaluation.job_id) & (EvaluationScore.metric == sort))
        .where(
            Evaluation.dataset_id == dataset_id,
            Evaluation.split == split,
            Evaluation.rows == rows,
            Job.status == JobStatus.SUCCEEDED,
        )
        .subquery()
    )
    figure = aliased(EvaluationScore)
    statement = (
        _joined()
        .join(latest, (latest.c.job_id == Evaluation.job_id) & (latest.c.age == 1))
        .join(figure, (figure.job_id == Evaluation.job_id) & (figure.metric == sort))
        .order_by(figure.value.desc(), figure.job_id)
        .limit(limit)
    )
    return _with_figures(session, session.execute(statement).all())


def models_evaluated(
    session: Session, dataset_id: uuid.UUID, split: Split, rows: int, names: Collection[str]
) -> set[str]:
    """Those of the models that an evaluation over just these rows has succeeded for."""
    statement = (
        select(Evaluation.model_name)
        .join(Job, Job.id == Evaluation.job_id)
        .where(
            Evaluation.dataset_id == dataset_id,
            Evaluation.split == split,
            Evaluation.rows == rows,
            Evaluation.model_name.in_(names),
            Job.status == JobStatus.SUCCEEDED,
        )
    )
    return set(session.scalars(statement))


def set_token_limit(session: Session, job_id: uuid.UUID, max_new_tokens: int) -> None:
    _update(session, job_id, max_new_tokens=max_new_tokens)


def count_done(session: Session, job_id: uuid.UUID, rows: int) -> None:
    """Note that so many more rows are done."""
    _update(session, job_id, rows_done=Evaluation.rows_done + rows)


def set_overall_scores(
    session: Session, job_id: uuid.UUID, figures: Mapping[str, Mapping[str, Any]], chrf_signature: str
) -> None:
    """Replace an evaluation's figures by these: value, low, high and n by name."""
    session.execute(delete(EvaluationScore).where(EvaluationScore.job_id == job_id))
    session.add_all(
        EvaluationScore(job_id=job_id, metric=metric, signature=chrf_signature if metric == CHRF else None, **figure)
        for metric, figure in figures.items()
    )
    session.flush()


def _update(session: Session, job_id: uuid.UUID, **values: Any) -> None:
    statement = update(Evaluation).where(Evaluation.job_id == job_id).values(**values)
    session.execute(statement.execution_options(synchronize_session=False))


def _joined() -> Any:
    return (
        select(Job, Evaluation, Dataset)
        .join(Evaluation, Evaluation.job_id == Job.id)
        .join(Dataset, Dataset.id == Evaluation.dataset_id)
    )


def _with_figures(session: Session, rows: Iterable[Any]) -> list[EvaluationRow]:
    found = list(rows)
    by_job: dict[uuid.UUID, list[EvaluationScore]] = {job.id: [] for job, *_ in found}
    for figure in session.scalars(select(EvaluationScore).where(EvaluationScore.job_id.in_(by_job))):
        by_job[figure.job_id].append(figure)
    return [EvaluationRow(job, evaluation, dataset, by_job[job.id]) for job, evaluation, dataset in found]
