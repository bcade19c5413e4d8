"""Queries about evaluations and their overall scores. Queries about their rows are in `db.queries.predictions`."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, cast, delete, func, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from db.pages import Page, fetch_page
from db.queries import templates
from db.queries.job_names import Named, selection
from db.tables.datasets import Dataset
from db.tables.evaluations import CHRF, Evaluation, EvaluationScore
from db.tables.jobs import Job
from db.tables.models import Model
from db.vocabulary import JobStatus, Split


@dataclass(frozen=True)
class EvaluationRow:
    """An evaluation with its job, dataset and the overall scores so far."""

    job: Job
    evaluation: Evaluation
    dataset: Dataset
    overall_scores: Sequence[EvaluationScore]


def get(session: Session, job_id: uuid.UUID) -> EvaluationRow | None:
    """Return the evaluation, or None if there is no such evaluation. Every API key may read it."""
    rows = _with_overall_scores(session, session.execute(_joined().where(Evaluation.job_id == job_id)).all())
    return rows[0] if rows else None


def get_with_model(session: Session, job_id: uuid.UUID) -> tuple[Evaluation, Dataset, Model | None]:
    """Return what a worker needs to run the evaluation, which must exist. The model is None for a baseline."""
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
    named: Named,
    status: JobStatus | None,
    sort: str | None,
    descending: bool,
    limit: int,
    after: uuid.UUID | None,
) -> Page[EvaluationRow]:
    """Return a page of evaluations, newest first, or in the order of an overall score.

    `named` and `status` select evaluations; None selects all. With `sort`, the name of a
    metric, only evaluations that have an overall score by this metric are returned. `after` is an id even then.
    """
    statement = _joined().where(*selection(session, Evaluation, named))
    if status is not None:
        statement = statement.where(Job.status == status)
    if sort is None:
        page = fetch_page(session, statement, Job.id, limit=limit, after=after)
        return Page(_with_overall_scores(session, page.items), page.next)
    order = tuple_(EvaluationScore.value, EvaluationScore.job_id)
    statement = statement.join(
        EvaluationScore, (EvaluationScore.job_id == Evaluation.job_id) & (EvaluationScore.metric == sort)
    ).order_by(*(column.desc() if descending else column for column in order))
    if after is not None:
        last = session.get(EvaluationScore, (after, sort))
        if last is None:
            return Page([], None)
        cursor = tuple_(last.value, last.job_id)
        statement = statement.where(order < cursor if descending else order > cursor)
    rows = session.execute(statement.limit(limit + 1)).all()
    items = _with_overall_scores(session, rows[:limit])
    return Page(items, items[-1].job.id if len(rows) > limit else None)


def leaderboard(
    session: Session, dataset_id: uuid.UUID, split: Split, rows: int, *, sort: str, limit: int
) -> Sequence[EvaluationRow]:
    """Return up to `limit` models' latest succeeded evaluations on the first `rows` rows of the split.

    The best by the metric `sort` comes first. The same model counts as another one with other load
    options, another template, system message or variables of the template, another part taken as the page, or another
    engine or version of it.
    """
    contender = [
        Evaluation.model_name,
        cast(Evaluation.load, Text),
        Evaluation.template_sha256,
        Evaluation.system,
        cast(Evaluation.chat_template_kwargs, Text),
        Evaluation.extract,
        Evaluation.engine,
        Evaluation.engine_version,
    ]
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
    score = aliased(EvaluationScore)
    statement = (
        _joined()
        .join(latest, (latest.c.job_id == Evaluation.job_id) & (latest.c.age == 1))
        .join(score, (score.job_id == Evaluation.job_id) & (score.metric == sort))
        .order_by(score.value.desc(), score.job_id)
        .limit(limit)
    )
    return _with_overall_scores(session, session.execute(statement).all())


def models_evaluated(
    session: Session, dataset_id: uuid.UUID, split: Split, rows: int, names: Collection[str]
) -> set[str]:
    """Return which of these models or baselines have a succeeded evaluation on the first `rows` rows of the split."""
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


def set_choices(
    session: Session,
    job_id: uuid.UUID,
    *,
    max_new_tokens: int,
    template: str,
    template_text: str,
    extract: str,
    engine: str,
    engine_version: str,
) -> None:
    """Store what a worker chose where the request has nothing: token limit, template, part that is the page, engine."""
    sha256 = templates.store(session, template_text)
    _update(
        session,
        job_id,
        max_new_tokens=max_new_tokens,
        template=template,
        template_sha256=sha256,
        extract=extract,
        engine=engine,
        engine_version=engine_version,
    )


def count_done(session: Session, job_id: uuid.UUID, rows: int) -> None:
    """Add `rows` to the number of rows that are done."""
    _update(session, job_id, rows_done=Evaluation.rows_done + rows)


def set_overall_scores(
    session: Session, job_id: uuid.UUID, scores: Mapping[str, Mapping[str, Any]], chrf_signature: str
) -> None:
    """Replace the overall scores of an evaluation. `scores` maps a metric to its `value`, `low`, `high` and `n`."""
    session.execute(delete(EvaluationScore).where(EvaluationScore.job_id == job_id))
    session.add_all(
        EvaluationScore(job_id=job_id, metric=metric, signature=chrf_signature if metric == CHRF else None, **score)
        for metric, score in scores.items()
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


def _with_overall_scores(session: Session, rows: Iterable[Any]) -> list[EvaluationRow]:
    jobs = list(rows)
    by_job: dict[uuid.UUID, list[EvaluationScore]] = {job.id: [] for job, *_ in jobs}
    for score in session.scalars(select(EvaluationScore).where(EvaluationScore.job_id.in_(by_job))):
        by_job[score.job_id].append(score)
    return [EvaluationRow(job, evaluation, dataset, by_job[job.id]) for job, evaluation, dataset in jobs]
