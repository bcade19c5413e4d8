"""Overall scores: means, the corpus chrF, coverage of the intervals, paired differences, McNemar's test."""

import numpy as np
import pytest
from sacrebleu.metrics.chrf import CHRF

from models.scoring.chrf import count_ngrams, score_of_counts
from pagewright.statistics import Difference, OverallScore, compare, mcnemar, overall_scores

COMPLETIONS = ["<p>a cat</p>", "", "<h1>One</h1>", "no page", "x"]
REFERENCES = ["<p>the cat sat</p>", "<b>x</b>", "<h1>One</h1>", "<p>no page</p>", ""]


def counts(completions: list[str], references: list[str]) -> np.ndarray:
    return np.array([count_ngrams(*pair) for pair in zip(completions, references, strict=True)])


def test_an_overall_score_is_the_mean_with_an_interval_around_it() -> None:
    score = overall_scores({"exact_match": np.array([1.0, 0.0] * 200)})["exact_match"]
    assert (score.value, score.n) == (0.5, 400)
    # 1.96 standard errors, by the normal distribution: 0.049
    assert score.low == pytest.approx(0.5 - 0.049, abs=0.006)
    assert score.high == pytest.approx(0.5 + 0.049, abs=0.006)


def test_a_95_percent_interval_contains_the_true_mean_about_95_percent_of_the_time() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        score = overall_scores({"m": generator.normal(3.0, 1.0, 100)})["m"]
        assert score.low is not None
        assert score.high is not None
        held += score.low <= 3.0 <= score.high
    assert 0.9 <= held / 200 <= 0.99


def test_equal_rows_give_an_interval_of_width_zero() -> None:
    assert overall_scores({"validity": np.ones(50)}) == {"validity": OverallScore(1.0, 1.0, 1.0, 50)}


def test_one_row_has_no_interval() -> None:
    assert overall_scores({"chrf": np.array([42.0])}) == {"chrf": OverallScore(42.0, None, None, 1)}


def test_no_rows_give_no_overall_scores() -> None:
    assert overall_scores({"chrf": np.array([]), "validity": np.array([])}, np.zeros((0, 18))) == {}
    assert overall_scores({}) == {}


def test_the_same_rows_give_the_same_overall_scores() -> None:
    scores = {"m": np.random.default_rng(1).random(30)}
    assert overall_scores(scores) == overall_scores(scores)


def test_the_overall_score_of_a_metric_does_not_depend_on_other_metrics() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.random(50), generator.random(50)
    together, alone = overall_scores({"a": a, "b": b})["b"], overall_scores({"b": b})["b"]
    assert [together.low, together.high] == pytest.approx([alone.low, alone.high])


def test_chrf_with_counts_is_sacrebleus_corpus_score() -> None:
    pairs = [(completion, [reference]) for completion, reference in zip(COMPLETIONS, REFERENCES, strict=True)]
    rows = np.array([CHRF().sentence_score(*pair).score for pair in pairs])
    score = overall_scores({"chrf": rows}, counts(COMPLETIONS, REFERENCES))["chrf"]
    expected = CHRF().corpus_score(COMPLETIONS, [REFERENCES]).score
    assert score.value == pytest.approx(expected, abs=1e-9)
    assert abs(expected - rows.mean()) > 1
    assert score.low is not None
    assert score.high is not None
    assert score.low < expected < score.high


@pytest.mark.parametrize("seed", range(20))
def test_chrf_agrees_with_sacrebleu_for_any_counts(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = generator.integers(0, 9, (4, 18)) * (generator.random(18) < 0.7)
    value = overall_scores({"chrf": np.zeros(4)}, rows)["chrf"].value
    expected = score_of_counts([int(total) for total in rows.sum(axis=0)])
    assert value == pytest.approx(expected, abs=1e-9)


def test_the_interval_of_chrf_is_that_of_the_corpus_chrf() -> None:
    statistics = counts(COMPLETIONS, REFERENCES)
    generator = np.random.default_rng(3)
    drawn = [statistics[generator.integers(0, 5, 5)].sum(axis=0) for _ in range(4_000)]
    expected = np.percentile([score_of_counts([int(n) for n in sums]) for sums in drawn], [2.5, 97.5])
    score = overall_scores({"chrf": np.zeros(5)}, statistics)["chrf"]
    assert [score.low, score.high] == pytest.approx(expected, abs=3)


def test_chrf_of_rows_without_ngrams_is_the_mean_of_the_rows() -> None:
    assert overall_scores({"chrf": np.array([100.0, 100.0])}, np.zeros((2, 18)))["chrf"].value == 100


@pytest.mark.parametrize(
    ("scores", "statistics", "message"),
    [
        ({"a": np.zeros(3), "b": np.zeros(4)}, None, r"the scores of b have the shape \(4,\), not \(3,\)"),
        ({"a": np.zeros((3, 2))}, None, r"the scores of a have the shape \(3, 2\), not \(3,\)"),
        (
            {"chrf": np.zeros(3)},
            np.zeros((2, 18)),
            r"the n-gram counts of chrF have the shape \(2, 18\), not \(3, 18\)",
        ),
        ({"chrf": np.zeros(3)}, np.zeros((3, 6)), r"the n-gram counts of chrF have the shape \(3, 6\), not \(3, 18\)"),
        ({"a": np.array([1.0, np.nan])}, None, "finite number: a"),
    ],
)
def test_bad_arrays_are_refused(scores: dict[str, np.ndarray], statistics: np.ndarray | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        overall_scores(scores, statistics)


def test_a_paired_difference_is_not_widened_by_hard_rows() -> None:
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
    value = overall_scores(scores, statistics)["chrf"].value
    assert compare(scores, scores, statistics, statistics) == {"chrf": Difference(value, value, 0.0, 0.0, 0.0, 5)}


def test_the_corpus_chrf_is_compared_only_if_both_models_have_counts() -> None:
    a, b = {"chrf": np.array([10.0, 20.0])}, {"chrf": np.array([30.0, 50.0])}
    statistics = counts(COMPLETIONS[:2], REFERENCES[:2])
    assert compare(a, b, a_chrf=statistics)["chrf"].difference == 25
    assert compare(a, b, statistics, statistics)["chrf"].difference == 0


def test_only_metrics_that_both_models_have_are_compared() -> None:
    assert list(compare({"a": np.ones(3), "b": np.ones(3)}, {"b": np.ones(3), "c": np.ones(3)})) == ["b"]


def test_the_difference_of_one_row_has_no_interval() -> None:
    assert compare({"m": np.array([1.0])}, {"m": np.array([3.0])}) == {"m": Difference(1.0, 3.0, 2.0, None, None, 1)}


def test_different_numbers_of_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="a has 3 and b has 4"):
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
