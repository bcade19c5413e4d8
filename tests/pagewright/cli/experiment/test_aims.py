from pagewright.cli.experiment.aims import judge
from pagewright.cli.experiment.plan import System
from pagewright.cli.experiment.results import Aim, Evaluated
from tests.pagewright.cli.experiment.samples import evaluated


def run_of(tuned: float, exact: float = 1 / 132, validity: float = 0.95, nearest: float = 37.0) -> list[Evaluated]:
    """All systems over 132 rows; quantizing costs the base 0.5 and base + LoRA 1.5 chrF."""
    return [
        evaluated(System.NEAREST_NEIGHBOUR, chrf=nearest),
        evaluated(System.BASE, chrf=30.0),
        evaluated(System.BASE_LORA, chrf=tuned, exact_match=exact, validity=validity),
        evaluated(System.GPTQ, chrf=29.5),
        evaluated(System.GPTQ_LORA, chrf=tuned - 1.5),
    ]


def outcome(aims: list[Aim], *words: str) -> str:
    [found] = [aim for aim in aims if all(word in aim.text for word in words)]
    return found.outcome


def test_aims_that_are_reached_are_met_with_what_was_measured() -> None:
    aims = judge(run_of(37.5), original=True)
    assert outcome(aims, "132 rows", "published") == "met"
    assert outcome(aims, "this run's nearest neighbour", "37.00") == "met"
    assert outcome(aims, "exact match") == "met"
    assert outcome(aims, "validity") == "met"
    assert outcome(aims, "GPTQ base,") == "met"
    assert [aim.measured for aim in aims if "published" in aim.text] == ["", "37.500"]


def test_what_only_equals_a_figure_that_is_to_be_beaten_misses_it() -> None:
    aims = judge(run_of(37.38, nearest=37.38), original=True)
    assert outcome(aims, "132 rows", "published") == "missed"
    assert outcome(aims, "this run's nearest neighbour") == "missed"


def test_aims_that_are_not_reached_are_missed() -> None:
    aims = judge(run_of(37.5, exact=0, validity=0.949, nearest=38), original=True)
    for words in (["this run's nearest neighbour"], ["exact match"], ["validity"], ["GPTQ base + LoRA", "loses"]):
        assert outcome(aims, *words) == "missed"


def test_published_figures_are_not_compared_with_on_other_rows() -> None:
    assert outcome(judge(run_of(37.5), original=True), "22 rows", "published") == "not measured"
    other = judge(run_of(37.5), original=False)
    assert outcome(other, "132 rows", "published") == "not measured"
    assert outcome(other, "this run's nearest neighbour") == "met"


def test_each_size_has_aims_of_its_own() -> None:
    both = run_of(37.5) + [evaluated(one.system, 22, 22, chrf=50.0, validity=1.0) for one in run_of(0)]
    aims = judge(both, original=True)
    assert outcome(aims, "22 rows", "published") == "met"
    assert len([aim for aim in aims if "loses" in aim.text]) == 4
    assert len([aim for aim in aims if "validity" in aim.text]) == 2


def test_without_a_base_in_full_precision_the_gptq_rows_are_judged_and_no_loss_is_measured() -> None:
    quantized = [
        evaluated(System.NEAREST_NEIGHBOUR, chrf=37.0),
        evaluated(System.GPTQ_LORA, chrf=40.0, exact_match=0, validity=1.0),
    ]
    aims = judge(quantized, original=True)
    assert outcome(aims, "GPTQ base + LoRA, 132 rows", "published") == "met"
    assert {aim.outcome for aim in aims if "loses" in aim.text} == {"not measured"}
