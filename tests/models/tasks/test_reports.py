"""Reports as lines in a file, between the process of a task and the one that waits for it."""

from pathlib import Path

import pytest

from models.tasks.reports import (
    Checkpoint,
    Ended,
    Event,
    MeasuredVariant,
    Outcome,
    QuantizedLayer,
    QuantizedModule,
    Report,
    ReportReader,
    ReportWriter,
    Step,
)

REPORTS: list[Report] = [
    Step(step=1, epoch=0.5, percent_done=50.0, remaining_seconds=2.5, loss=1.0),
    Event("precision", "in float32: \u00a0\u2713"),
    Checkpoint(1, "/somewhere"),
    QuantizedModule(layer=0, module="mlp.up_proj", error=None, relative_error=None, tokens=0, seconds=1.5),
    QuantizedLayer(layer=1, layers=8, percent_done=12.5, remaining_seconds=7.0),
    MeasuredVariant("bitsandbytes-4", percent_done=100.0, error="bitsandbytes is not installed"),
    Ended(Outcome.DIVERGED, "the loss is not a number"),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "reports.jsonl"


def test_reports_are_read_as_they_were_written(file: Path) -> None:
    write = ReportWriter(file)
    for report in REPORTS:
        write(report)
    assert ReportReader(file).new() == REPORTS


def test_a_reader_returns_each_report_once_and_may_start_before_the_file_exists(file: Path) -> None:
    reader = ReportReader(file)
    assert reader.new() == []
    for report in REPORTS:
        ReportWriter(file)(report)
        assert reader.new() == [report]
    assert reader.new() == []


def test_a_line_is_read_when_it_is_complete(file: Path) -> None:
    ReportWriter(file)(REPORTS[1])
    line = file.read_bytes()
    for end in range(len(line)):
        file.write_bytes(line[:end])
        reader = ReportReader(file)
        assert reader.new() == []
        with file.open("ab") as rest:
            rest.write(line[end:])
        assert reader.new() == [REPORTS[1]]
        reader.close()
