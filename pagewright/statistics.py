"""Overall scores of an evaluation from the scores of its rows, with intervals, and comparisons of two evaluations.

Intervals are 95 % percentile bootstrap intervals (Efron 1979, "Bootstrap methods: another look at the jackknife"): how
far an overall score could be from its value if other rows had been drawn from the same source. The random numbers have
a fixed seed, so the same rows always give the same scores and intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 1_000
SEED = 20_190_913
INTERVAL = (2.5, 97.5)
MAX_DRAWN = 5_000_000
"""Limit on the numbers, of 8 bytes each, that one batch of resamples holds in memory."""
CHRF_COUNTS = 18
"""For each n-gram order from 1 to 6: the n-grams of the completion, of the reference, and in both."""
CHRF_BETA = 2


@dataclass(frozen=True)
class OverallScore:
    """A metric's score over `n` rows, in the metric's own units, with its interval. None: one row has no interval."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """The overall scores of models a and b over the same `n` rows, and `b - a` with its interval.

    `low` and `high` are None for one row, which has no interval.
    """

    a: float
    b: float
    difference: float
    low: float | None
    high: float | None
    n: int


def overall_scores(
    scores: Mapping[str, ArrayLike], chrf_statistics: ArrayLike | None = None
) -> dict[str, OverallScore]:
    """Return the overall score of each metric, or an empty dict if there are no rows.

    `scores` maps a metric to an array of shape (n,), one score per row. The overall score is the mean. If
    `chrf_statistics`, of shape (n, 18), has the n-gram counts of each row, the overall score of `chrf` is the corpus
    chrF instead, computed from the sums of the counts as sacrebleu does. If all counts are 0, it is the mean.

    Raises ValueError if an array has the wrong shape or a number that is not finite.
    """
    rows = _Rows(scores, chrf_statistics)
    if rows.n == 0:
        return {}
    values = _values(rows, rows.columns.sum(axis=0))
    resampled = _values(rows, _resampled_sums(rows.columns))
    return {
        name: OverallScore(float(values[name]), *_interval(resampled[name], rows.n), n=rows.n) for name in rows.names
    }


def compare(
    a_scores: Mapping[str, ArrayLike],
    b_scores: Mapping[str, ArrayLike],
    a_chrf: ArrayLike | None = None,
    b_chrf: ArrayLike | None = None,
) -> dict[str, Difference]:
    """Return the difference in each metric that both models have, over the same rows in the same order.

    Arguments and values are those of `overall_scores`. The corpus chrF is compared if both models have counts, else the
    mean chrF. The bootstrap is paired (Koehn 2004, "Statistical significance tests for machine translation
    evaluation"): every resample has the same rows for both models, so that rows that are hard for both models do not
    widen the interval.

    Raises ValueError as `overall_scores` does, and if the models have different numbers of rows.
    """
    common = [name for name in a_scores if name in b_scores]
    if a_chrf is None or b_chrf is None:
        a_chrf = b_chrf = None
    a = _Rows({name: a_scores[name] for name in common}, a_chrf)
    b = _Rows({name: b_scores[name] for name in common}, b_chrf)
    if a.n != b.n:
        raise ValueError(f"a comparison needs the same rows for both models, but a has {a.n} and b has {b.n}")
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
    """Return the p-value of the hypothesis that two models are right equally often.

    `only_a` and `only_b` are the numbers of rows that only model a, or only model b, has right. This is McNemar's test
    (1947), two-sided and exact by the binomial distribution. 1.0 if both numbers are 0. Raises ValueError for a
    negative number.
    """
    from scipy.stats import binomtest  # imported here because it is slow to import, and the API imports this module

    if min(only_a, only_b) < 0:
        raise ValueError(f"numbers of rows must not be negative, but are {only_a} and {only_b}")
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b).pvalue)


class _Rows:
    """A table of scores and counts, one line per row. Overall scores are functions of its columns' sums."""

    def __init__(self, scores: Mapping[str, ArrayLike], chrf_statistics: ArrayLike | None) -> None:
        self.names = list(scores)
        columns = [np.asarray(scores[name], dtype=np.float64) for name in self.names]
        self.n = len(columns[0]) if columns else 0
        self.has_counts = chrf_statistics is not None and "chrf" in self.names
        for name, column in zip(self.names, columns, strict=True):
            if column.shape != (self.n,):
                raise ValueError(f"the scores of {name} have the shape {column.shape}, not {(self.n,)}")
        counts = np.zeros((self.n, 0))
        if self.has_counts:
            counts = np.asarray(chrf_statistics, dtype=np.float64)
            if counts.shape != (self.n, CHRF_COUNTS):
                raise ValueError(
                    f"the n-gram counts of chrF have the shape {counts.shape}, not {(self.n, CHRF_COUNTS)}"
                )
        self.columns = np.column_stack([*columns, counts]) if columns else counts
        if not np.isfinite(self.columns).all():
            bad = ", ".join(
                name for name, column in zip(self.names, columns, strict=True) if not np.isfinite(column).all()
            )
            raise ValueError(f"not every score is a finite number: {bad or 'the n-gram counts of chrF'}")


def _values(rows: _Rows, sums: np.ndarray) -> dict[str, np.ndarray]:
    """Return each metric from the sums of the columns over `rows.n` rows. `sums` may have leading axes."""
    values = {name: sums[..., position] / rows.n for position, name in enumerate(rows.names)}
    if rows.has_counts:
        counts = sums[..., len(rows.names) :]
        values["chrf"] = np.where(counts.any(axis=-1), _corpus_chrf(counts), values["chrf"])
    return values


def _corpus_chrf(counts: np.ndarray) -> np.ndarray:
    """Return the chrF, 0 to 100, of counts of shape (..., 18).

    An order of which the completions or the references have no n-grams is left out of the means over orders.
    """
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
    """Return sums of shape (RESAMPLES, columns): each over `len(columns)` rows that are drawn with replacement."""
    n = len(columns)
    generator = np.random.default_rng(SEED)
    sums = np.empty((RESAMPLES, columns.shape[1]))
    batch = max(1, MAX_DRAWN // n)
    for start in range(0, RESAMPLES, batch):
        # How often each row is drawn. One matrix product then reads the columns once for the whole batch.
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
