"""Queries about predictions: the rows of evaluations."""

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
"""Rows that an export, or a reading of scores, holds in memory."""


@dataclass(frozen=True)
class Filter:
    """Which of an evaluation's predictions are meant. Ranges are inclusive; None leaves an end open.

    `ranges` are by column: a metric, or `parse_errors`. `text` is looked for in prompt and completion, case aside.
    """

    ranges: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    text: str | None = None


class ScoreColumns:
    """An evaluation's scores in the order of its rows: n by each metric, and the chrF's n times 18 counts.

    Arrays, since lists of the same numbers take several times the memory.
    """

    def __init__(self, metrics: Collection[str]) -> None:
        self.by_metric = {metric: array("d") for metric in metrics}
        self._counts: list[array[int]] = []

    @property
    def chrf_statistics(self) -> "list[array[int]] | None":
        return self._counts or None

    def add(self, row: Sequence[Any]) -> None:
        """One row more, with the columns of `_columns`."""
        for scores, score in zip(self.by_metric.values(), row, strict=False):
            scores.append(score)
        if CHRF in self.by_metric:
            self._counts.append(array("l", row[-1]))


def add(session: Session, job_id: uuid.UUID, predictions: Collection[Prediction]) -> None:
    """Store predictions, but for those of rows that are stored already: storing twice changes nothing."""
    rows = [prediction.row for prediction in predictions]
    known = set(session.scalars(select(Prediction.row).where(Prediction.job_id == job_id, Prediction.row.in_(rows))))
    new = [prediction for prediction in predictions if prediction.row not in known]
    if new:
        session.execute(insert(Prediction), [columns_of(prediction) for prediction in new])
        evaluations.count_done(session, job_id, len(new))


def rows_done(session: Session, job_id: uuid.UUID) -> set[int]:
    return set(session.scalars(select(Prediction.row).where(Prediction.job_id == job_id)))


def scores(session: Session, job_id: uuid.UUID, metrics: Collection[str]) -> ScoreColumns:
    """All of an evaluation's scores by these metrics, which it was asked for."""
    statement = select(*_columns(Prediction, metrics)).where(Prediction.job_id == job_id).order_by(Prediction.row)
    found = ScoreColumns(metrics)
    for row in session.execute(statement, execution_options={"yield_per": EXPORT_ROWS}):
        found.add(row)
    return found


def paired_scores(
    session: Session, a: uuid.UUID, b: uuid.UUID, metrics: Collection[str]
) -> tuple[ScoreColumns, ScoreColumns]:
    """The scores of two evaluations over the rows that both have, by metrics that both were asked for."""
    left, right = aliased(Prediction), aliased(Prediction)
    columns = _columns(left, metrics)
    statement = _on_same_rows(select(*columns, *_columns(right, metrics)), left, right, a, b).order_by(left.row)
    found = ScoreColumns(metrics), ScoreColumns(metrics)
    for row in session.execute(statement, execution_options={"yield_per": EXPORT_ROWS}):
        found[0].add(row[: len(columns)])
        found[1].add(row[len(columns) :])
    return found


def changed(
    session: Session, a: uuid.UUID, b: uuid.UUID, metric: str, *, limit: int, after: int
) -> tuple[list[tuple[Prediction, Prediction]], int | None]:
    """The first rows after number `after` whose score by `metric` differs, and what to pass as `after` next."""
    left, right = aliased(Prediction), aliased(Prediction)
    statement = _on_same_rows(select(left, right), left, right, a, b)
    differs = getattr(left, metric) != getattr(right, metric)
    rows = session.execute(statement.where(differs, left.row > after).order_by(left.row).limit(limit + 1)).all()
    return [(row[0], row[1]) for row in rows[:limit]], rows[limit - 1][0].row if len(rows) > limit else None


def page(
    session: Session,
    job_id: uuid.UUID,
    wanted: Filter,
    *,
    sort: str | None,
    descending: bool,
    limit: int,
    after: int | None,
) -> tuple[Sequence[Prediction], int | None]:
    """Predictions in the order of their rows, or of a score; and what to pass as `after` for the next page."""
    statement = select(Prediction).where(*_conditions(job_id, wanted))
    # a row that was not scored comes where the lowest score would
    order = [func.coalesce(getattr(Prediction, sort), -1.0)] if sort else []
    if after is not None:
        last = [after] if sort is None else [_score_of(session, job_id, after, sort), after]
        ordered, seen = tuple_(*order, Prediction.row), tuple_(*last)
        statement = statement.where(ordered < seen if descending else ordered > seen)
    by = [*order, Prediction.row]
    statement = statement.order_by(*(column.desc() if descending else column for column in by))
    found = session.scalars(statement.limit(limit + 1)).all()
    return found[:limit], found[limit - 1].row if len(found) > limit else None


def export(database: Database, job_id: uuid.UUID, wanted: Filter) -> Iterator[Sequence[Prediction]]:
    """All of them in the order of their rows, a few at a time, each few read in a transaction of its own."""
    after: int | None = -1
    while after is not None:
        with database.read() as session:
            found, after = page(session, job_id, wanted, sort=None, descending=False, limit=EXPORT_ROWS, after=after)
        yield found


def _conditions(job_id: uuid.UUID, wanted: Filter) -> Iterable[ColumnElement[bool]]:
    yield Prediction.job_id == job_id
    for name, (low, high) in wanted.ranges.items():
        column = getattr(Prediction, name)
        if low is not None:
            yield column >= low
        if high is not None:
            yield column <= high
    if wanted.text:
        yield Prediction.prompt.icontains(wanted.text, autoescape=True) | Prediction.completion.icontains(
            wanted.text, autoescape=True
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
