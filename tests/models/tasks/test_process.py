"""A long task in a process of its own, as a worker starts it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from models.fine_tuning.options import TrainingOptions
from models.fine_tuning.task import FineTuneTask
from models.loading.refs import ModelRef, Source
from models.quantization.options import QuantizationOptions
from models.quantization.task import QuantizeTask
from models.tasks.merge import MergeTask
from models.tasks.process import REPORTS, STOP, command, environment
from models.tasks.reports import (
    Checkpoint,
    Ended,
    Outcome,
    QuantizedModule,
    Report,
    ReportReader,
    Step,
)
from models.tasks.specification import RESULT, write_specification
from tests import preloaded
from tests.adapters import make_adapter
from tests.processes import eventually

STARTER = ModelRef(Source.BUNDLED, "starter")
PAGE = "<!DOCTYPE html><html><head><title>One</title></head><body><p>One</p></body></html>"
LONG = 10_000
"""More steps than any test waits for."""

Specify = Callable[..., Path]


@pytest.fixture
def specify(tmp_path: Path) -> Specify:
    """Writes the specification of a fine-tune on a few short rows, with the given base and training options."""
    rows = write_rows(tmp_path, [PAGE] * 8)

    def write(base: ModelRef = STARTER, **training: Any) -> Path:
        task = FineTuneTask(
            work_folder=tmp_path, base=base, base_name="starter", train=rows, training=TrainingOptions(**training)
        )
        return write_specification(task)

    return write


def specify_quantization(folder: Path, model: ModelRef = STARTER, **options: Any) -> Path:
    """Write the specification of a quantization on a few short rows, which measures no variants."""
    calibration = write_rows(folder, [PAGE] * 20)
    task = QuantizeTask(
        work_folder=folder, model=model, calibration=calibration, options=QuantizationOptions(**options)
    )
    return write_specification(task)


def write_rows(folder: Path, outputs: list[str]) -> Path:
    file = folder / "rows.parquet"
    instructions, inputs = ["Create a page."] * len(outputs), [""] * len(outputs)
    pq.write_table(pa.table({"instruction": instructions, "input": inputs, "output": outputs}), file)
    return file


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


def wait_for(reader: ReportReader, kind: type[Report]) -> list[Report]:
    """Wait for a report of this type, and return the reports up to it."""
    reports: list[Report] = []

    def has_come() -> bool:
        reports.extend(reader.new())
        return any(isinstance(report, kind) for report in reports)

    eventually(has_come, f"a report of the type {kind.__name__}")
    return reports


def run_to_end(specification: Path) -> Ended:
    """Run a task, and return how it ended."""
    with running(specification) as process:
        process.wait()
        [*_, ended] = ReportReader(specification.parent / REPORTS).new()
    assert isinstance(ended, Ended)
    assert process.returncode == (0 if ended.outcome in (Outcome.DONE, Outcome.STOPPED) else 1)
    return ended


def test_two_processes_train_one_adapter(specify: Specify, monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.device_count() == 1:  # too few for two processes, which then use the CPU
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    specification = specify(max_steps=3, save_steps=2, per_device_train_batch_size=1, gradient_accumulation_steps=1)
    with running(specification, devices=2) as process:
        assert process.wait() == 0
    folder = specification.parent
    reports = ReportReader(folder / REPORTS).new()
    assert [report.step for report in reports if isinstance(report, Step)] == [1, 2, 3], "one reports for both"
    assert [report for report in reports if isinstance(report, Ended)] == [Ended(Outcome.DONE)]
    [first, _] = [report for report in reports if isinstance(report, Checkpoint)]
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {file.name for file in Path(first.folder).iterdir()}
    assert (folder / RESULT / "adapter_model.safetensors").exists()


def test_a_fine_tune_that_is_told_to_stop_reports_a_checkpoint(specify: Specify) -> None:
    specification = specify(max_steps=LONG, save_steps=None)
    reader = ReportReader(specification.parent / REPORTS)
    with running(specification) as process:
        wait_for(reader, Step)
        (specification.parent / STOP).touch()
        reports = wait_for(reader, Ended)
        assert process.wait() == 0
    assert reports[-1] == Ended(Outcome.STOPPED)
    assert isinstance(reports[-2], Checkpoint)
    assert (Path(reports[-2].folder) / "optimizer.pt").exists()
    assert not (specification.parent / RESULT).exists()


def test_a_task_ends_with_the_process_that_started_it(specify: Specify) -> None:
    specification = specify(max_steps=LONG, save_steps=None)
    launcher = "import subprocess, sys; subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE).wait()"
    starting = subprocess.Popen(
        [sys.executable, "-c", launcher, *command(specification, 1)], env={**os.environ, **environment(1)}
    )
    wait_for(ReportReader(specification.parent / REPORTS), Step)
    [task] = psutil.Process(starting.pid).children()
    starting.kill()
    starting.wait()
    task.wait()


@pytest.mark.parametrize(
    ("changes", "ended"),
    [
        ({"max_seq_length": 10_000}, (Outcome.INVALID, "max_seq_length")),
        ({"learning_rate": 1e20, "warmup_steps": 0}, (Outcome.DIVERGED, "learning_rate")),
        ({"base": ModelRef(Source.LOCAL, "/nowhere")}, (Outcome.MODEL_UNAVAILABLE, "nowhere: ")),
    ],
    ids=["invalid", "diverged", "no model"],
)
def test_a_fine_tune_that_fails_reports_its_outcome(
    specify: Specify, changes: dict[str, Any], ended: tuple[Outcome, str]
) -> None:
    outcome, message = ended
    last = run_to_end(specify(**changes))
    assert last.outcome == outcome
    assert message in last.message


def test_running_out_of_memory_is_an_outcome_and_no_crash(specify: Specify, tmp_path: Path) -> None:
    """The operating system or the GPU allows less memory than the batch needs."""
    specification = specify(per_device_train_batch_size=8, max_seq_length=2048)
    write_rows(tmp_path, [PAGE * 60] * 8)
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


def test_a_quantization_that_is_told_to_stop_leaves_no_result(tmp_path: Path) -> None:
    specification = specify_quantization(tmp_path, group_size=64)
    reader = ReportReader(tmp_path / REPORTS)
    with running(specification) as process:
        wait_for(reader, QuantizedModule)
        (tmp_path / STOP).touch()
        reports = wait_for(reader, Ended)
        assert process.wait() == 0
    assert reports[-1] == Ended(Outcome.STOPPED)
    assert not (tmp_path / RESULT).exists()


@pytest.mark.parametrize(
    ("model", "options", "ended"),
    [
        (STARTER, {"group_size": 512}, (Outcome.INVALID, "group_size: 512 does not divide")),
        (ModelRef(Source.LOCAL, "/nowhere"), {}, (Outcome.MODEL_UNAVAILABLE, "nowhere: ")),
    ],
    ids=["group_size", "no model"],
)
def test_a_quantization_that_fails_reports_its_outcome(
    tmp_path: Path, model: ModelRef, options: dict[str, Any], ended: tuple[Outcome, str]
) -> None:
    outcome, message = ended
    last = run_to_end(specify_quantization(tmp_path, model, **options))
    assert last.outcome == outcome
    assert message in last.message


def test_an_adapter_is_merged_into_the_result_folder(tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "adapter")
    task = MergeTask(work_folder=tmp_path, model=replace(STARTER, adapter=adapter))
    assert run_to_end(write_specification(task)) == Ended(Outcome.DONE)
    assert (task.result_folder / "model.safetensors").exists()
