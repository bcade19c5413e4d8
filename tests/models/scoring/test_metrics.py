"""Each metric on cases computed by hand or by its library's public functions, and on hostile texts."""

import pickle
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.scoring import metrics
from models.scoring.metrics import (
    Scores,
    chrf,
    chrf_statistics,
    exact_match,
    normalized_exact_match,
    score,
    structural_similarity,
    text_similarity,
    validity,
)
from models.scoring.names import Metric
from tests.pages import HOSTILE, soup

COMPARING: list[Callable[[str, str], float]] = [
    exact_match,
    normalized_exact_match,
    chrf,
    structural_similarity,
    text_similarity,
]
BEST = {name: 100.0 if name == "chrf" else 1.0 for name in Metric}
PAGE = (
    '<!DOCTYPE html>\n<html lang="en"><head><title>T</title></head><body><h1>One</h1><p>caf&eacute;</p></body></html>'
)
LONG = "<i></i>" * 150
SLOWEST = [
    "attributes of one element, over many tags",
    "elements beside each other",
    "formatting that is opened again for each paragraph",
    "many attributes of many elements",
    "one word",
    "rare characters",
    "texts that belong before a table",
    "two thousand combs",
    "words",
]
texts = st.one_of(soup, st.text(), st.sampled_from(["", " \n", PAGE, "not a page"]))


@pytest.mark.parametrize(
    ("completion", "reference", "value"),
    [(PAGE, f"\n {PAGE}\n", 1), ("", " ", 1), (PAGE, PAGE.replace("h1", "H1"), 0), ("a b", "a  b", 0)],
)
def test_an_exact_match_ignores_whitespace_at_both_ends(completion: str, reference: str, value: float) -> None:
    assert exact_match(completion, reference) == value


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        (PAGE.replace("&eacute;", "é").replace("</p>", "").replace("<h1>", "\n  <H1>\n"), 1),
        (PAGE.replace("One", "Two"), 0),
        (PAGE.replace("<!DOCTYPE html>", ""), 0),
        ("", 0),
        ("not a page", 0),
        ("<div>" * 40_000, 0),
    ],
)
def test_a_normalized_exact_match_compares_canonical_forms(completion: str, value: float) -> None:
    assert normalized_exact_match(completion, PAGE) == value


def test_pages_beyond_the_limits_can_only_match_exactly() -> None:
    deep = "<div>" * 1_000
    assert normalized_exact_match(deep, f" {deep}") == 1
    assert normalized_exact_match(deep, deep + "<div>") == 0


def test_chrf_of_two_blank_texts_is_100() -> None:
    assert chrf("", " \n") == 100
    assert chrf("", "a") == chrf("a", " ") == 0


@pytest.mark.parametrize(
    ("completion", "value"), [(PAGE, 1), (PAGE.replace("</h1>", ""), 0), ("", 0), ("not a page", 0)]
)
def test_a_page_without_parse_errors_is_valid(completion: str, value: float) -> None:
    assert validity(completion) == value


@pytest.mark.parametrize(
    ("completion", "reference", "value"),
    [
        pytest.param("<ul><li>a<li>b", "<ul><li>x<li>y</ul>", 1, id="different texts"),
        pytest.param("<p class=a>a", "<p id=b>b", 1, id="different attributes"),
        pytest.param("<ul><li>a<li>b<li>c", "<ul><li>a<li>b", 1 - 1 / 4, id="one element more"),
        pytest.param("<ul><li>a<li>b", "<ol><li>a<li>b", 1 - 1 / 3, id="one element renamed"),
        pytest.param("<div><p>a</div><p>b", "<p>a<p>b", 1 - 1 / 3, id="one element around another"),
        pytest.param("<b></b><i></i>", "<i></i><b></b>", 1 - 2 / 2, id="two elements swapped"),
        pytest.param("<b><i><u>", "<em></em><sup></sup><sub></sub>", 0, id="more edits than elements"),
        pytest.param("", "<p>a", 0, id="an empty page"),
        pytest.param("not a page", "", 1, id="no elements in either"),
        pytest.param("<ul>" + "<li>" * 200, "<ul>" + "<li>" * 201, 1 - 1 / 202, id="beyond the exact distance"),
        pytest.param("<b>" + LONG, "<b></b>" + LONG, 1 - 2 / 151, id="the same preorder, beyond the exact distance"),
        pytest.param(
            "<b><u></u></b>" + LONG, "<b></b><u></u>" + LONG, 1 - 2 / 152, id="the same preorder of more than one"
        ),
        pytest.param("<p>" * 1_500, "<p>", 1 - 1_499 / 1_500, id="one element and many"),
    ],
)
def test_structural_similarity_is_one_minus_edits_per_element(completion: str, reference: str, value: float) -> None:
    assert structural_similarity(completion, reference) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("shape", ["<span>" * 250, "<b><i></i>" * 60, "<b></b>" * 1_000])
def test_trees_of_any_shape_are_compared(shape: str) -> None:
    assert 0 <= structural_similarity(shape, "<p><b>x</b></p>" * 19 + "<i>") < 1


@given(soup, soup)
def test_the_distance_of_large_trees_is_a_lower_bound_of_the_tree_edit_distance(a: str, b: str) -> None:
    exact = structural_similarity(a, b)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "MAX_TREE_PAIRS", -1)
        assert structural_similarity(a, b) >= exact - 1e-12


@pytest.mark.parametrize(
    ("completion", "reference", "value"),
    [
        pytest.param("<p>abcd</p>", "<b>abxd</b>", 2 * 3 / 8, id="three of four characters"),
        pytest.param("<title>a</title><p>b", "<title>c</title><p>b", 1, id="different titles"),
        pytest.param("<p>a<p>b", "a\n\nb", 1, id="blocks separate words"),
        pytest.param("", "<style>x</style>", 1, id="no text in either"),
        pytest.param("", "a", 0, id="no text in one"),
        pytest.param("ab " * 30_000, "ac " * 30_000, 0, id="long texts word by word"),
        pytest.param("x " * 20_000, "x " * 40_000, 2 * 20_000 / 60_000, id="one long text"),
    ],
)
def test_text_similarity_is_the_share_of_common_characters(completion: str, reference: str, value: float) -> None:
    assert text_similarity(completion, reference) == pytest.approx(value, abs=1e-12)


@given(texts, texts)
def test_every_metric_is_in_its_range_for_any_two_texts(completion: str, reference: str) -> None:
    scores = score(completion, reference)
    for name in Metric:
        assert 0 <= getattr(scores, name) <= BEST[name]
    assert scores.normalized_exact_match >= scores.exact_match  # type: ignore[operator]


@given(texts)
def test_every_metric_is_at_its_maximum_for_identical_texts(text: str) -> None:
    assert [metric(text, text) for metric in COMPARING] == [BEST[Metric(metric.__name__)] for metric in COMPARING]


@given(texts, texts)
def test_score_agrees_with_each_metric_called_alone(completion: str, reference: str) -> None:
    scores = score(completion, reference)
    assert [getattr(scores, metric.__name__) for metric in COMPARING] == [
        metric(completion, reference) for metric in COMPARING
    ]
    assert scores.validity == validity(completion) == float(scores.parse_errors == 0)
    assert scores.chrf_statistics == chrf_statistics(completion, reference)


def test_score_computes_only_the_requested_metrics() -> None:
    assert score(PAGE, PAGE, ["exact_match"]) == Scores(exact_match=1.0)
    assert score("<p>", PAGE, {"validity"}) == Scores(validity=0.0, parse_errors=1)
    assert score("a", "a", ("chrf",)) == Scores(chrf=100.0, chrf_statistics=[1, 1, 1] + [0] * 15)


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown metrics: bleu"):
        score(PAGE, PAGE, ["bleu", "chrf"])


def test_scores_can_be_pickled() -> None:
    scores = score("<p>a", PAGE)
    assert pickle.loads(pickle.dumps(scores)) == scores


# Without the limits on their work, the metrics take minutes on these texts; benchmarks/scoring.py measures them.
@pytest.mark.timeout(60)
@pytest.mark.parametrize("metric", COMPARING[1:])
@pytest.mark.parametrize("name", SLOWEST)
def test_every_metric_ends_on_hostile_texts(name: str, metric: Callable[[str, str], float]) -> None:
    text = HOSTILE[name]
    rotated = text[len(text) // 4 :] + text[: len(text) // 4]
    assert 0 <= metric(text, rotated) <= BEST[Metric(metric.__name__)]


@pytest.mark.timeout(60)
def test_the_tree_edit_distance_ends_on_the_worst_trees() -> None:
    comb, other = "<div><p></p>" * 50, ("<div><p></p>" * 33) + ("<i></i></div>" * 33)
    assert structural_similarity(comb, other) < 1
    assert structural_similarity("<form>", "<div>" * 100 + "<p></p>" * 9_800) < 1


def test_metrics_load_no_torch() -> None:
    code = "import sys, models.scoring.metrics; sys.exit(bool({'torch', 'transformers'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_chrf_reads_the_first_hundred_thousand_characters() -> None:
    same = "a page " * 20_000
    assert len(same) > 100_000
    assert chrf(same + "and its end", same + "or another") == 100
    assert chrf("x" * 99_990 + "and its end", "x" * 99_990 + "or another") < 100
