"""Aims are met, missed or not measured."""

from pagewright.cli.experiment.aims import judge
from pagewright.cli.experiment.plan import System
from pagewright.cli.experiment.results import Aim, Evaluated
from tests.pagewright.cli.experiment.samples import evaluated


def run_of(tuned: float, exact: float = 1 / 132, validity: float = 0.95, nearest: float = 37.0) -> list[Evaluated]:
    """Return evaluations of all systems on 132 rows. Quantizing costs the base 0.5 and base + LoRA 1.5 chrF."""
    return [
        evaluated(System.NEAREST_NEIGHBOUR, chrf=nearest),
        evaluated(System.BASE, chrf=30.0),
        evaluated(System.BASE_LORA, chrf=tuned, exact_match=exact, validity=validity),
        evaluated(System.GPTQ, chrf=29.5),
        evaluated(System.GPTQ_LORA, chrf=tuned - 1.5),
    ]


def outcome(aims: list[Aim], *words: str) -> str:
    [match] = [aim for aim in aims if all(word in aim.text for word in words)]
    return match.outcome


def test_an_aim_that_is_met_shows_the_measured_value() -> None:
    aims = judge(run_of(37.5), original=True)
    assert outcome(aims, "132 rows", "published") == "met"
    assert outcome(aims, "nearest neighbour in this run", "37.00") == "met"
    assert outcome(aims, "exact match") == "met"
    assert outcome(aims, "validity") == "met"
    assert outcome(aims, "GPTQ base,") == "met"
    assert [aim.measured for aim in aims if "published" in aim.text] == ["", "37.500"]


def test_an_aim_to_beat_a_score_is_missed_by_an_equal_score() -> None:
    aims = judge(run_of(37.38, nearest=37.38), original=True)
    assert outcome(aims, "132 rows", "published") == "missed"
    assert outcome(aims, "nearest neighbour in this run") == "missed"


def test_results_below_the_bounds_miss_the_aims() -> None:
    aims = judge(run_of(37.5, exact=0, validity=0.949, nearest=38), original=True)
    for words in (["nearest neighbour in this run"], ["exact match"], ["validity"], ["GPTQ base + LoRA", "loses"]):
        assert outcome(aims, *words) == "missed"


def test_published_scores_are_compared_on_the_original_rows_only() -> None:
    assert outcome(judge(run_of(37.5), original=True), "22 rows", "published") == "not measured"
    other = judge(run_of(37.5), original=False)
    assert outcome(other, "132 rows", "published") == "not measured"
    assert outcome(other, "nearest neighbour in this run") == "met"


def test_every_number_of_rows_has_its_own_aims() -> None:
    both = run_of(37.5) + [evaluated(other.system, 22, 22, chrf=50.0, validity=1.0) for other in run_of(0)]
    aims = judge(both, original=True)
    assert outcome(aims, "22 rows", "published") == "met"
    assert len([aim for aim in aims if "loses" in aim.text]) == 4
    assert len([aim for aim in aims if "validity" in aim.text]) == 2


def test_without_a_base_in_full_precision_the_gptq_systems_are_judged_and_no_loss_is_measured() -> None:
    quantized = [
        evaluated(System.NEAREST_NEIGHBOUR, chrf=37.0),
        evaluated(System.GPTQ_LORA, chrf=40.0, exact_match=0, validity=1.0),
    ]
    aims = judge(quantized, original=True)
    assert outcome(aims, "GPTQ base + LoRA, 132 rows", "published") == "met"
    assert {aim.outcome for aim in aims if "loses" in aim.text} == {"not measured"}
