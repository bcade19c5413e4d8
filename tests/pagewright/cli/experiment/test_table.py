"""The Markdown output of a run."""

from pagewright.cli.experiment.plan import System
from pagewright.cli.experiment.results import Aim
from pagewright.cli.experiment.table import HEADER, markdown, table
from tests.pagewright.cli.experiment.samples import evaluated, results


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_rows_are_ordered_by_size_and_then_by_system() -> None:
    scores = {"exact_match": 1 / 22, "normalized_exact_match": 2 / 22, "chrf": 41.126, "validity": 21 / 22}
    lines = table(
        [
            evaluated(System.BASE_LORA, chrf=40.0),
            evaluated(System.NEAREST_NEIGHBOUR, chrf=37.38),
            evaluated(System.BASE, 22, 22, structural_similarity=0.5554, **scores),
        ]
    ).splitlines()
    assert cells(lines[0]) == list(HEADER)
    assert cells(lines[2]) == ["first 22", "base", "chat", "1 (4.5%)", "2 (9.1%)", "41.13", "95.5%", "0.555", "12.3"]
    assert [cells(line)[1:3] for line in lines[3:]] == [["nearest neighbour", ""], ["base + LoRA", "chat"]]
    assert {len(cells(line)) for line in lines} == {len(HEADER)}


def test_a_metric_without_a_score_has_an_empty_cell() -> None:
    assert cells(table([evaluated(System.BASE)]).splitlines()[2])[3:8] == [""] * 5


def test_notes_aims_command_and_versions_follow_the_table() -> None:
    printed = markdown(
        results(
            notes=["a note\nover two lines"],
            aims=[
                Aim(text="chrF above 1", measured="2.00", outcome="met"),
                Aim(text="chrF above 3", measured="", outcome="not measured"),
            ],
        )
    )
    assert "- a note over two lines\n" in printed
    assert "- met (2.00): chrF above 1\n- not measured: chrF above 3\n" in printed
    assert "`pagewright experiment`" in printed
    assert printed.endswith("(fraction 0.25, seed 123). Versions: pagewright 0.1.0.")
