"""From the scores of rows to figures for all of them, with intervals, and to differences between two models.

Intervals are for 95 % and from the bootstrap's percentiles (Efron 1979, "Bootstrap methods: another look at the
jackknife"): they say how far a figure would go if the rows were others of their kind. The same rows always give the
same figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 1_000
SEED = 20_190_913
INTERVAL = (2.5, 97.5)
MAX_DRAWN = 5_000_000
"""Numbers in memory at once, of 8 bytes."""
CHRF_COUNTS = 18
"""For each order of n-grams from 1 to 6: those of the completion, of the reference, and in common."""
CHRF_BETA = 2


@dataclass(frozen=True)
class Figure:
    """A metric over `n` rows, in the metric's own units. One row says nothing about others: no interval then."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """A metric of models a and b over the same `n` rows, and `b - a` with its interval, which one row does not give."""

    a: float
    b: float
    difference: float
    low: float | None
    high: float | None
    n: int


def overall(scores: Mapping[str, ArrayLike], chrf_statistics: ArrayLike | None = None) -> dict[str, Figure]:
    """A figure for each metric; none if there are no rows.

    `scores` maps a metric to one number per row. Its figure is their mean. If `chrf_statistics` has the 18 counts of
    each row, the figure of `chrf` is the corpus's chrF instead, from the sums of the counts as sacrebleu computes it;
    or the mean still, if there is not one n-gram.

    Raises ValueError if the arrays are of different lengths or shapes, or have a number that is not finite.
    """
    rows = _Rows(scores, chrf_statistics)
    if rows.n == 0:
        return {}
    values = _values(rows, rows.columns.sum(axis=0))
    resampled = _values(rows, _resampled_sums(rows.columns))
    return {name: Figure(float(values[name]), *_interval(resampled[name], rows.n), n=rows.n) for name in rows.names}


def compare(
    a_scores: Mapping[str, ArrayLike],
    b_scores: Mapping[str, ArrayLike],
    a_chrf: ArrayLike | None = None,
    b_chrf: ArrayLike | None = None,
) -> dict[str, Difference]:
    """The difference in each metric that both models have, over the same rows in the same order.

    Arguments and values are those of `overall`; the corpus's chrF is used if both models have the counts. The bootstrap
    is paired (Koehn 2004, "Statistical significance tests for machine translation evaluation"): it draws rows once for
    both models, so that what makes a row hard for both does not widen the interval.

    Raises ValueError as `overall` does, and if the models have different numbers of rows.
    """
    common = [name for name in a_scores if name in b_scores]
    if a_chrf is None or b_chrf is None:
        a_chrf = b_chrf = None
    a = _Rows({name: a_scores[name] for name in common}, a_chrf)
    b = _Rows({name: b_scores[name] for name in common}, b_chrf)
    if a.n != b.n:
        raise ValueError(f"the same rows are to be compared, and these are {a.n} and {b.n}")
    if a.n == 0:
        return {}
    a_values, b_values = _values(a, a.columns.sum(axis=0)), _values(b, b.columns.sum(axis=0))
    sums = _resampled_sums(np.hstack([a.columns, b.columns]))
    a_resampled, b_resampled = (_values(rows, half) for rows, half in zip((a, b), np.hsplit(sums, 2), strict=True))
    return {
        name: Difference(
            float(a_values[name]),
            float(b_values[name]),
            float(b_values[name] - a_values[name]),
            *_interval(b_resampled[name] - a_resampled[name], a.n),
            n=a.n,
        )
        for name in common
    }


def mcnemar(only_a: int, only_b: int) -> float:
    """The p-value that two models are right equally often, from the rows that only one of them has right.

    McNemar's test (1947), two-sided and exact: by the binomial distribution, for any number of rows. 1.0 if there are
    no such rows. Raises ValueError for a negative number.
    """
    from scipy.stats import binomtest  # it takes long to import, and the API imports this module

    if min(only_a, only_b) < 0:
        raise ValueError("a number of rows is negative")
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b).pvalue)


class _Rows:
    """One row's scores and counts side by side: their sums over any choice of rows are all that a figure needs."""

    def __init__(self, scores: Mapping[str, ArrayLike], chrf_statistics: ArrayLike | None) -> None:
        self.names = list(scores)
        columns = [np.asarray(scores[name], dtype=np.float64) for name in self.names]
        self.n = len(columns[0]) if columns else 0
        self.has_counts = chrf_statistics is not None and "chrf" in self.names
        for name, column in zip(self.names, columns, strict=True):
            if column.shape != (self.n,):
                raise ValueError(f"{name} has the shape {column.shape}, where {self.names[0]} has {self.n} numbers")
        counts = np.zeros((self.n, 0))
        if self.has_counts:
            counts = np.asarray(chrf_statistics, dtype=np.float64)
            if counts.shape != (self.n, CHRF_COUNTS):
                raise ValueError(f"the counts of chrF have the shape {counts.shape}, not {(self.n, CHRF_COUNTS)}")
        self.columns = np.column_stack([*columns, counts]) if columns else counts
        if not np.isfinite(self.columns).all():
            raise ValueError("a score is not a finite number")


def _values(rows: _Rows, sums: np.ndarray) -> dict[str, np.ndarray]:
    """Each metric from the sums of the columns over `rows.n` rows; of many such sums, if `sums` has another axis."""
    values = {name: sums[..., position] / rows.n for position, name in enumerate(rows.names)}
    if rows.has_counts:
        counts = sums[..., len(rows.names) :]
        values["chrf"] = np.where(counts.any(axis=-1), _corpus_chrf(counts), values["chrf"])
    return values


def _corpus_chrf(counts: np.ndarray) -> np.ndarray:
    """0 to 100. Orders that the completions or the references have no n-gram of are left out of the means."""
    completion, reference, common = np.moveaxis(counts.reshape(*counts.shape[:-1], -1, 3), -1, 0)
    counted = (completion > 0) & (reference > 0)
    orders = np.maximum(counted.sum(axis=-1), 1)
    precision = np.divide(common, completion, out=np.zeros_like(common), where=counted).sum(axis=-1) / orders
    recall = np.divide(common, reference, out=np.zeros_like(common), where=counted).sum(axis=-1) / orders
    weight = CHRF_BETA**2
    weighted = weight * precision + recall
    product = 100 * (1 + weight) * precision * recall
    score: np.ndarray = np.divide(product, weighted, out=np.zeros_like(product), where=weighted > 0)
    return score


def _resampled_sums(columns: np.ndarray) -> np.ndarray:
    """The sums of the columns over as many rows, drawn with replacement: one row of sums per resample."""
    n = len(columns)
    generator = np.random.default_rng(SEED)
    sums = np.empty((RESAMPLES, columns.shape[1]))
    batch = max(1, MAX_DRAWN // n)
    for start in range(0, RESAMPLES, batch):
        # how often each row is drawn: one product of matrices reads the columns once for the whole batch
        drawn = np.empty((min(batch, RESAMPLES - start), n))
        for times in drawn:
            times[:] = np.bincount(generator.integers(0, n, n), minlength=n)
        sums[start : start + len(drawn)] = drawn @ columns
    return sums


def _interval(resampled: Sequence[float] | np.ndarray, n: int) -> tuple[float | None, float | None]:
    if n == 1:
        return None, None
    low, high = np.percentile(resampled, INTERVAL)
    return float(low), float(high)
