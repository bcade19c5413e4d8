"""Figures over rows: means, the corpus's chrF, intervals that hold what they should, paired differences, McNemar."""

import time

import numpy as np
import pytest
from sacrebleu.metrics.chrf import CHRF

from pagewright.statistics import Difference, Figure, compare, mcnemar, overall

COMPLETIONS = ["<p>a cat</p>", "", "<h1>One</h1>", "no page", "x"]
REFERENCES = ["<p>the cat sat</p>", "<b>x</b>", "<h1>One</h1>", "<p>no page</p>", ""]


def counts(completions: list[str], references: list[str]) -> np.ndarray:
    metric = CHRF()
    return np.array(metric._extract_corpus_statistics(completions, [references]))


def test_a_figure_is_the_mean_with_an_interval_around_it() -> None:
    figure = overall({"exact_match": np.array([1.0, 0.0] * 200)})["exact_match"]
    assert (figure.value, figure.n) == (0.5, 400)
    # 1.96 standard errors, by the normal distribution: 0.049
    assert figure.low == pytest.approx(0.5 - 0.049, abs=0.006)
    assert figure.high == pytest.approx(0.5 + 0.049, abs=0.006)


def test_intervals_for_95_percent_hold_the_truth_that_often() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        figure = overall({"m": generator.normal(3.0, 1.0, 100)})["m"]
        assert figure.low is not None
        assert figure.high is not None
        held += figure.low <= 3.0 <= figure.high
    assert 0.9 <= held / 200 <= 0.99


def test_rows_that_agree_leave_no_doubt() -> None:
    assert overall({"validity": np.ones(50)}) == {"validity": Figure(1.0, 1.0, 1.0, 50)}


def test_one_row_has_no_interval() -> None:
    assert overall({"chrf": np.array([42.0])}) == {"chrf": Figure(42.0, None, None, 1)}


def test_no_rows_have_no_figures() -> None:
    assert overall({"chrf": np.array([]), "validity": np.array([])}, np.zeros((0, 18))) == {}
    assert overall({}) == {}


def test_the_same_rows_give_the_same_figures() -> None:
    scores = {"m": np.random.default_rng(1).random(30)}
    assert overall(scores) == overall(scores)


def test_the_figure_of_a_metric_does_not_depend_on_the_others() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.random(50), generator.random(50)
    together, alone = overall({"a": a, "b": b})["b"], overall({"b": b})["b"]
    assert [together.low, together.high] == pytest.approx([alone.low, alone.high])


def test_chrf_is_the_corpus_s_as_sacrebleu_has_it() -> None:
    pairs = [(completion, [reference]) for completion, reference in zip(COMPLETIONS, REFERENCES, strict=True)]
    rows = np.array([CHRF().sentence_score(*pair).score for pair in pairs])
    figure = overall({"chrf": rows}, counts(COMPLETIONS, REFERENCES))["chrf"]
    expected = CHRF().corpus_score(COMPLETIONS, [REFERENCES]).score
    assert figure.value == pytest.approx(expected, abs=1e-9)
    assert abs(expected - rows.mean()) > 1
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < expected < figure.high


@pytest.mark.parametrize("seed", range(20))
def test_chrf_is_sacrebleus_for_any_counts(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = generator.integers(0, 9, (4, 18)) * (generator.random(18) < 0.7)
    value = overall({"chrf": np.zeros(4)}, rows)["chrf"].value
    expected = CHRF()._compute_f_score([int(total) for total in rows.sum(axis=0)])
    assert value == pytest.approx(expected, abs=1e-9)


def test_the_interval_of_chrf_is_that_of_the_corpus_s_chrf() -> None:
    statistics = counts(COMPLETIONS, REFERENCES)
    generator = np.random.default_rng(3)
    drawn = [statistics[generator.integers(0, 5, 5)].sum(axis=0) for _ in range(4_000)]
    expected = np.percentile([CHRF()._compute_f_score([int(n) for n in sums]) for sums in drawn], [2.5, 97.5])
    figure = overall({"chrf": np.zeros(5)}, statistics)["chrf"]
    assert [figure.low, figure.high] == pytest.approx(expected, abs=3)


def test_chrf_of_rows_without_an_ngram_is_the_mean_of_the_rows() -> None:
    assert overall({"chrf": np.array([100.0, 100.0])}, np.zeros((2, 18)))["chrf"].value == 100


@pytest.mark.parametrize(
    ("scores", "statistics", "message"),
    [
        ({"a": np.zeros(3), "b": np.zeros(4)}, None, r"b has the shape \(4,\), where a has 3 numbers"),
        ({"a": np.zeros((3, 2))}, None, r"a has the shape \(3, 2\)"),
        ({"chrf": np.zeros(3)}, np.zeros((2, 18)), r"the counts of chrF have the shape \(2, 18\), not \(3, 18\)"),
        ({"chrf": np.zeros(3)}, np.zeros((3, 6)), r"the counts of chrF have the shape \(3, 6\), not \(3, 18\)"),
        ({"a": np.array([1.0, np.nan])}, None, "not a finite number"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    scores: dict[str, np.ndarray], statistics: np.ndarray | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        overall(scores, statistics)


def test_a_hundred_thousand_rows_take_seconds() -> None:
    generator = np.random.default_rng(4)
    scores = {name: generator.random(100_000) for name in ("a", "b", "c", "d", "e", "chrf")}
    start = time.monotonic()
    overall(scores, generator.integers(1, 1_000, (100_000, 18)))
    assert time.monotonic() - start < 10


def test_a_difference_is_paired_so_hard_rows_do_not_widen_it() -> None:
    generator = np.random.default_rng(5)
    hardness = generator.normal(0, 1, 300)
    a, b = hardness + generator.normal(0, 0.1, 300), hardness + 0.05 + generator.normal(0, 0.1, 300)
    difference = compare({"m": a}, {"m": b})["m"]
    assert difference.difference == pytest.approx(difference.b - difference.a)
    assert difference.difference == pytest.approx((b - a).mean())
    # the standard error of a paired difference is 0.1 * sqrt(2 / 300) = 0.008; of two unpaired means it would be 0.08
    assert difference.low is not None
    assert difference.high is not None
    assert 0 < difference.low < difference.difference < difference.high
    assert difference.high - difference.low == pytest.approx(2 * 1.96 * 0.008, rel=0.2)


def test_a_model_does_not_differ_from_itself() -> None:
    scores, statistics = {"chrf": np.array([10.0, 90.0, 0.0, 30.0, 0.0])}, counts(COMPLETIONS, REFERENCES)
    value = overall(scores, statistics)["chrf"].value
    assert compare(scores, scores, statistics, statistics) == {"chrf": Difference(value, value, 0.0, 0.0, 0.0, 5)}


def test_the_corpus_s_chrf_is_compared_only_if_both_models_have_counts() -> None:
    a, b = {"chrf": np.array([10.0, 20.0])}, {"chrf": np.array([30.0, 50.0])}
    statistics = counts(COMPLETIONS[:2], REFERENCES[:2])
    assert compare(a, b, a_chrf=statistics)["chrf"].difference == 25
    assert compare(a, b, statistics, statistics)["chrf"].difference == 0


def test_only_metrics_that_both_models_have_are_compared() -> None:
    assert list(compare({"a": np.ones(3), "b": np.ones(3)}, {"b": np.ones(3), "c": np.ones(3)})) == ["b"]


def test_one_row_of_each_has_a_difference_without_an_interval() -> None:
    assert compare({"m": np.array([1.0])}, {"m": np.array([3.0])}) == {"m": Difference(1.0, 3.0, 2.0, None, None, 1)}


def test_models_over_different_rows_are_not_compared() -> None:
    with pytest.raises(ValueError, match="3 and 4"):
        compare({"m": np.ones(3)}, {"m": np.ones(4)})
    assert compare({"m": np.ones(0)}, {"m": np.ones(0)}) == {}


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (0, 1, 1.0),
        (0, 5, 2 / 2**5),
        (1, 9, 2 * (1 + 10) / 2**10),
        (9, 1, 2 * (1 + 10) / 2**10),
    ],
)
def test_mcnemar_is_the_exact_binomial_test_of_the_rows_that_differ(only_a: int, only_b: int, p: float) -> None:
    assert mcnemar(only_a, only_b) == pytest.approx(p)


def test_a_negative_number_of_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        mcnemar(-1, 3)
