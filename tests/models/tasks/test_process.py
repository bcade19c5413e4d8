"""A long task in a process of its own, as a worker starts it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from models.fine_tuning.options import LoraOptions, TrainingOptions
from models.loading.refs import ModelRef, Source
from models.quantization.options import QuantizationOptions
from models.tasks.process import REPORTS, STOP, command, environment, write_specification
from models.tasks.reports import (
    Checkpointed,
    Ended,
    Happened,
    LayerError,
    Measured,
    Outcome,
    Quantized,
    Report,
    ReportReader,
    ReportWriter,
    VariantMeasured,
)
from tests import preloaded

STARTER = ModelRef(Source.BUNDLED, "starter")
PAGE = "<!DOCTYPE html><html><head><title>One</title></head><body><p>One</p></body></html>"
LONG = 10_000
"""More steps than any test waits for."""
NOT_MEASURED = VariantMeasured(
    variant="bitsandbytes-4",
    disk_bytes=None,
    memory_bytes=None,
    perplexity=None,
    exact_match=None,
    chrf=None,
    rows=0,
    tokens_per_second=None,
    seconds=None,
    percent_done=100.0,
    error="bitsandbytes is not installed",
)

Specify = Callable[..., Path]


@pytest.fixture
def specify(tmp_path: Path) -> Specify:
    """The specification of a fine-tune of few short rows."""
    rows = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"instruction": ["Create a page."] * 8, "input": [""] * 8, "output": [PAGE] * 8}), rows)

    def write(base: ModelRef = STARTER, **training: Any) -> Path:
        return write_specification(
            "fine_tune",
            tmp_path,
            base=base,
            base_name="starter",
            train=rows,
            evaluation=None,
            lora=LoraOptions(),
            training=TrainingOptions(**training),
            checkpoint=None,
        )

    return write


def specify_quantization(folder: Path, model: ModelRef = STARTER, **options: Any) -> Path:
    """The specification of a quantization on few short rows, without a report of its variants."""
    rows = folder / "rows.parquet"
    pq.write_table(pa.table({"instruction": ["Create a page."] * 20, "input": [""] * 20, "output": [PAGE] * 20}), rows)
    return write_specification(
        "quantize",
        folder,
        model=model,
        calibration=rows,
        evaluation=None,
        evaluation_rows=0,
        options=QuantizationOptions(**options),
    )


@contextmanager
def running(specification: Path, devices: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    variables = {**os.environ, **environment(devices)}
    process = preloaded.Popen(command(specification, devices), env=variables, stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.kill()
        process.wait()


def wait_for(reader: ReportReader, kind: type[Report], seconds: float = 60) -> list[Report]:
    """The reports up to the first of the kind."""
    deadline = time.monotonic() + seconds
    reports: list[Report] = []
    while not any(isinstance(report, kind) for report in reports):
        assert time.monotonic() < deadline, reports
        time.sleep(0.05)
        reports += reader.new()
    return reports


def ending(specification: Path) -> Ended:
    """How a task ends that is run to its end."""
    with running(specification) as process:
        process.wait()
        [*_, ended] = ReportReader(specification.parent / REPORTS).new()
    assert isinstance(ended, Ended)
    assert process.returncode == (0 if ended.outcome in (Outcome.DONE, Outcome.STOPPED) else 1)
    return ended


def test_reports_are_read_as_they_were_written(tmp_path: Path) -> None:
    reports: list[Report] = [
        Measured(step=1, epoch=0.5, percent_done=50.0, remaining_seconds=2.5, loss=1.0),
        Happened("precision", "in float32"),
        Checkpointed(1, "/somewhere"),
        LayerError(layer=0, module="mlp.up_proj", error=None, relative_error=None, tokens=0, seconds=1.5),
        Quantized(layer=1, layers=8, percent_done=12.5, remaining_seconds=7.0),
        NOT_MEASURED,
        Ended(Outcome.DIVERGED, "the loss is not a number"),
    ]
    reader = ReportReader(tmp_path / REPORTS)
    assert reader.new() == []
    write = ReportWriter(tmp_path / REPORTS)
    for report in reports:
        write(report)
    assert reader.new() == reports
    assert reader.new() == []
    with (tmp_path / REPORTS).open("a") as file:
        file.write('{"kind": "Happened", "eve')
    assert reader.new() == []
    with (tmp_path / REPORTS).open("a") as file:
        file.write('nt": "a", "message": "b"}\n')
    assert reader.new() == [Happened("a", "b")]


def test_two_processes_train_one_adapter(specify: Specify, monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.device_count() == 1:  # on the CPU, then
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    specification = specify(max_steps=3, save_steps=2, per_device_train_batch_size=1, gradient_accumulation_steps=1)
    with running(specification, devices=2) as process:
        assert process.wait() == 0
    folder = specification.parent
    reports = ReportReader(folder / REPORTS).new()
    assert [report.step for report in reports if isinstance(report, Measured)] == [1, 2, 3], "one reports for both"
    assert [report for report in reports if isinstance(report, Ended)] == [Ended(Outcome.DONE)]
    [first, _] = [report for report in reports if isinstance(report, Checkpointed)]
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {file.name for file in Path(first.folder).iterdir()}
    assert (folder / "made" / "adapter_model.safetensors").exists()


def test_a_task_that_is_told_to_stop_leaves_a_checkpoint(specify: Specify) -> None:
    specification = specify(max_steps=LONG, save_steps=None)
    reader = ReportReader(specification.parent / REPORTS)
    with running(specification) as process:
        wait_for(reader, Measured)
        (specification.parent / STOP).touch()
        reports = wait_for(reader, Ended)
        assert process.wait() == 0
    assert reports[-1] == Ended(Outcome.STOPPED)
    assert isinstance(reports[-2], Checkpointed)
    assert (Path(reports[-2].folder) / "optimizer.pt").exists()
    assert not (specification.parent / "made").exists()


def test_a_task_ends_with_whoever_started_it(specify: Specify) -> None:
    specification = specify(max_steps=LONG, save_steps=None)
    launcher = "import subprocess, sys; subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE).wait()"
    starting = subprocess.Popen(
        [sys.executable, "-c", launcher, *command(specification, 1)], env={**os.environ, **environment(1)}
    )
    wait_for(ReportReader(specification.parent / REPORTS), Measured)
    [task] = psutil.Process(starting.pid).children()
    starting.kill()
    starting.wait()
    task.wait()


@pytest.mark.parametrize(
    ("changes", "ended"),
    [
        ({"max_seq_length": 10_000}, (Outcome.INVALID, "max_seq_length")),
        ({"learning_rate": 1e20, "warmup_steps": 0}, (Outcome.DIVERGED, "learning_rate")),
        ({"base": ModelRef(Source.LOCAL, "/nowhere")}, (Outcome.MODEL_UNAVAILABLE, "/nowhere")),
    ],
    ids=["invalid", "diverged", "no model"],
)
def test_what_cannot_be_done_says_so(specify: Specify, changes: dict[str, Any], ended: tuple[Outcome, str]) -> None:
    outcome, message = ended
    last = ending(specify(**changes))
    assert last.outcome == outcome
    assert message in last.message


def test_running_out_of_memory_is_told_from_a_crash(specify: Specify, tmp_path: Path) -> None:
    """With less memory than the batch takes, as a limit of the operating system or of the GPU."""
    specification = specify(per_device_train_batch_size=8, max_seq_length=2048)
    rows = tmp_path / "rows.parquet"
    pq.write_table(
        pa.table({"instruction": ["Create a page."] * 8, "input": [""] * 8, "output": [PAGE * 60] * 8}), rows
    )
    limit = (
        "torch.cuda.set_per_process_memory_fraction(0.01)\n"
        if torch.cuda.is_available()
        else "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 700 * 2**20,) * 2)\n"
    )
    limited = (
        f"import resource, runpy, sys, torch, transformers.trainer, peft\n{limit}"
        "runpy.run_module('models.tasks.process', run_name='__main__', alter_sys=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", limited, str(specification)], env={**os.environ, **environment(1)}, stdin=subprocess.PIPE
    )
    process.wait()
    [*_, ended] = ReportReader(tmp_path / REPORTS).new()
    assert isinstance(ended, Ended)
    assert ended.outcome == Outcome.OUT_OF_MEMORY, asdict(ended)


def test_a_quantization_runs_layer_by_layer_until_it_is_told_to_stop(tmp_path: Path) -> None:
    specification = specify_quantization(tmp_path, group_size=64)
    reader = ReportReader(tmp_path / REPORTS)
    with running(specification) as process:
        wait_for(reader, Quantized)
        (tmp_path / STOP).touch()
        reports = wait_for(reader, Ended)
        assert process.wait() == 0
    assert reports[-1] == Ended(Outcome.STOPPED)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("model", "options", "ended"),
    [
        (STARTER, {"group_size": 512}, (Outcome.INVALID, "group_size: 512 does not divide")),
        (ModelRef(Source.LOCAL, "/nowhere"), {}, (Outcome.MODEL_UNAVAILABLE, "/nowhere")),
    ],
    ids=["group_size", "no model"],
)
def test_what_cannot_be_quantized_says_so(
    tmp_path: Path, model: ModelRef, options: dict[str, Any], ended: tuple[Outcome, str]
) -> None:
    outcome, message = ended
    last = ending(specify_quantization(tmp_path, model, **options))
    assert last.outcome == outcome
    assert message in last.message
