"""Progress of the steps with and without a terminal."""

import io

import pytest
from rich.console import Console

from pagewright.cli.experiment.progress import Steps


def test_without_a_terminal_a_step_prints_a_few_lines() -> None:
    out = io.StringIO()
    with Steps(2, Console(file=out, width=40)) as steps:
        with steps.step("fine-tune the [base]") as report_progress:
            for percent in range(0, 101):
                report_progress(percent / 100, f"running, {100 - percent} s left")
        with steps.step("evaluate") as report_progress:
            report_progress(0, "queued")
            report_progress(0, "queued")
    lines = out.getvalue().splitlines()
    assert lines[0] == "[1/2] fine-tune the [base]: 0%, running, 100 s left"
    assert [line.split(", ")[0][-3:] for line in lines[1:5]] == ["25%", "50%", "75%", "00%"]
    assert lines[5:] == [
        "[1/2] fine-tune the [base]: done in 0:00:00",
        "[2/2] evaluate: 0%, queued",
        "[2/2] evaluate: done in 0:00:00",
    ]


def test_on_a_terminal_there_are_bars_for_the_run_and_the_step() -> None:
    out = io.StringIO()
    with (
        Steps(2, Console(file=out, width=100, force_terminal=True, color_system=None)) as steps,
        steps.step("fine-tune") as report_progress,
    ):
        report_progress(0.5, "running, attempt 2")
        steps._bars.refresh()
    shown = out.getvalue()
    assert "25%" in shown
    assert "50%" in shown
    assert "running, attempt 2" in shown
    assert "[1/2] fine-tune: done" in shown


def test_a_failed_step_is_not_shown_as_done() -> None:
    out = io.StringIO()
    with Steps(1, Console(file=out)) as steps, pytest.raises(RuntimeError), steps.step("fine-tune"):
        raise RuntimeError
    assert "done" not in out.getvalue()
