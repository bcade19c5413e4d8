"""Queries about predictions, the rows of evaluations."""

import uuid
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, func, insert, select, tuple_
from sqlalchemy.orm import Session, aliased

from db.queries import evaluations
from db.session import Database
from db.tables.base import columns_of
from db.tables.evaluations import CHRF, Prediction

EXPORT_ROWS = 500
"""How many rows an export, or a query for all scores, holds in memory at a time."""


@dataclass(frozen=True)
class Filter:
    """Conditions that a prediction must meet.

    `ranges` maps a column, a metric or `parse_errors`, to its lowest and highest value, both inclusive; None leaves
    that side open. `text` must occur in the prompt or the completion, ignoring case.
    """

    ranges: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    text: str | None = None


class ScoreColumns:
    """The scores of an evaluation's rows, in the order of the rows.

    `by_metric` holds one score per row for each metric. With chrF among the metrics, `chrf_statistics` holds 18 counts
    per row. Both are arrays, which need a fraction of the memory of lists.
    """

    def __init__(self, metrics: Collection[str]) -> None:
        self.by_metric = {metric: array("d") for metric in metrics}
        self._counts: list[array[int]] = []

    @property
    def chrf_statistics(self) -> "list[array[int]] | None":
        """sacrebleu's counts for each row; None without chrF."""
        return self._counts or None

    def add(self, row: Sequence[Any]) -> None:
        """Append the scores of one row, which has the columns that `_columns` returns."""
        for scores, score in zip(self.by_metric.values(), row, strict=False):
            scores.append(score)
        if CHRF in self.by_metric:
            self._counts.append(array("l", row[-1]))


def add(session: Session, job_id: uuid.UUID, predictions: Collection[Prediction]) -> None:
    """Store predictions and count them as done. Predictions of rows that are already stored are ignored."""
    rows = [prediction.row for prediction in predictions]
    known = set(session.scalars(select(Prediction.row).where(Prediction.job_id == job_id, Prediction.row.in_(rows))))
    new = [prediction for prediction in predictions if prediction.row not in known]
    if new:
        session.execute(insert(Prediction), [columns_of(prediction) for prediction in new])
        evaluations.count_done(session, job_id, len(new))


def rows_done(session: Session, job_id: uuid.UUID) -> set[int]:
    """Return the numbers of the rows whose prediction is stored."""
    return set(session.scalars(select(Prediction.row).where(Prediction.job_id == job_id)))


def scores(session: Session, job_id: uuid.UUID, metrics: Collection[str]) -> ScoreColumns:
    """Return the scores of all predictions of an evaluation by these metrics, all of which it must compute."""
    statement = select(*_columns(Prediction, metrics)).where(Prediction.job_id == job_id).order_by(Prediction.row)
    columns = ScoreColumns(metrics)
    for row in session.execute(statement, execution_options={"yield_per": EXPORT_ROWS}):
        columns.add(row)
    return columns


def paired_scores(
    session: Session, a: uuid.UUID, b: uuid.UUID, metrics: Collection[str]
) -> tuple[ScoreColumns, ScoreColumns]:
    """Return the scores of two evaluations on the rows that both have, by metrics that both must compute."""
    left, right = aliased(Prediction), aliased(Prediction)
    columns = _columns(left, metrics)
    statement = _on_same_rows(select(*columns, *_columns(right, metrics)), left, right, a, b).order_by(left.row)
    pair = ScoreColumns(metrics), ScoreColumns(metrics)
    for row in session.execute(statement, execution_options={"yield_per": EXPORT_ROWS}):
        pair[0].add(row[: len(columns)])
        pair[1].add(row[len(columns) :])
    return pair


def changed(
    session: Session, a: uuid.UUID, b: uuid.UUID, metric: str, *, limit: int, after: int
) -> tuple[list[tuple[Prediction, Prediction]], int | None]:
    """Return up to `limit` pairs of predictions for the same row whose scores by `metric` differ.

    The pairs are in the order of their rows, all of which have numbers above `after`. The second value is what to pass
    as `after` for the next page, or None on the last one.
    """
    left, right = aliased(Prediction), aliased(Prediction)
    statement = _on_same_rows(select(left, right), left, right, a, b)
    differs = getattr(left, metric) != getattr(right, metric)
    rows = session.execute(statement.where(differs, left.row > after).order_by(left.row).limit(limit + 1)).all()
    return [(row[0], row[1]) for row in rows[:limit]], rows[limit - 1][0].row if len(rows) > limit else None


def page(
    session: Session,
    job_id: uuid.UUID,
    conditions: Filter,
    *,
    sort: str | None,
    descending: bool,
    limit: int,
    after: int | None,
) -> tuple[Sequence[Prediction], int | None]:
    """Return up to `limit` predictions in the order of their rows, or of their scores by the metric `sort`.

    `after` is the number of the last row on the page before. The second value is what to pass as `after` for the next
    page, or None on the last one.
    """
    statement = select(Prediction).where(*_clauses(job_id, conditions))
    # a row without a score sorts below the lowest score
    order = [func.coalesce(getattr(Prediction, sort), -1.0)] if sort else []
    if after is not None:
        last = [after] if sort is None else [_score_of(session, job_id, after, sort), after]
        position, cursor = tuple_(*order, Prediction.row), tuple_(*last)
        statement = statement.where(position < cursor if descending else position > cursor)
    by = [*order, Prediction.row]
    statement = statement.order_by(*(column.desc() if descending else column for column in by))
    rows = session.scalars(statement.limit(limit + 1)).all()
    return rows[:limit], rows[limit - 1].row if len(rows) > limit else None


def export(database: Database, job_id: uuid.UUID, conditions: Filter) -> Iterator[Sequence[Prediction]]:
    """Yield all predictions that meet the conditions in the order of their rows, in lists of up to 500.

    Each list is read in its own transaction, so a slow reader keeps none open.
    """
    after: int | None = -1
    while after is not None:
        with database.read() as session:
            rows, after = page(session, job_id, conditions, sort=None, descending=False, limit=EXPORT_ROWS, after=after)
        yield rows


def _clauses(job_id: uuid.UUID, conditions: Filter) -> Iterable[ColumnElement[bool]]:
    yield Prediction.job_id == job_id
    for name, (low, high) in conditions.ranges.items():
        column = getattr(Prediction, name)
        if low is not None:
            yield column >= low
        if high is not None:
            yield column <= high
    if conditions.text:
        yield Prediction.prompt.icontains(conditions.text, autoescape=True) | Prediction.completion.icontains(
            conditions.text, autoescape=True
        )


def _score_of(session: Session, job_id: uuid.UUID, row: int, metric: str) -> float:
    column = getattr(Prediction, metric)
    score: float | None = session.scalars(
        select(column).where(Prediction.job_id == job_id, Prediction.row == row)
    ).one_or_none()
    return -1.0 if score is None else score


def _on_same_rows(statement: Any, left: Any, right: Any, a: uuid.UUID, b: uuid.UUID) -> Any:
    return statement.select_from(left).join(right, left.row == right.row).where(left.job_id == a, right.job_id == b)


def _columns(table: Any, metrics: Collection[str]) -> list[Any]:
    names = [*metrics, *(["chrf_statistics"] if CHRF in metrics else [])]
    return [getattr(table, name) for name in names]
