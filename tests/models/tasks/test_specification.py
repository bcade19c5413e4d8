"""A task as a file, between the worker that wants it done and the process that does it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import ValidationError

from models.fine_tuning import training
from models.fine_tuning.options import LoraOptions, TrainingOptions
from models.fine_tuning.task import FineTuneTask
from models.loading.refs import ModelRef, Source
from models.quantization import gptq
from models.quantization.options import QuantizationOptions
from models.quantization.task import QuantizeTask
from models.tasks import merge
from models.tasks.reports import Report
from models.tasks.specification import Task, read_specification, write_specification

HUB_MODEL = ModelRef(Source.HUB, "owner/name", revision="abc", adapter="/adapters/1", bitsandbytes=4)
TASKS = [
    FineTuneTask(
        work_folder=Path("work"),
        base=HUB_MODEL,
        base_name="name",
        train=Path("train.parquet"),
        evaluation=Path("test.parquet"),
        lora=LoraOptions(r=4, target_modules=["up_proj"]),
        training=TrainingOptions(num_train_epochs=2, eval_steps=10),
        checkpoint=Path("checkpoint-3"),
    ),
    QuantizeTask(
        work_folder=Path("work"),
        model=HUB_MODEL,
        calibration=Path("train.parquet"),
        options=QuantizationOptions(bits=3, group_size=-1),
    ),
    merge.MergeTask(work_folder=Path("work"), model=HUB_MODEL),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_a_task_is_read_as_it_was_written(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[Task] = []
    module, name = {
        FineTuneTask: (training, "fine_tune"),
        QuantizeTask: (gptq, "quantize"),
        merge.MergeTask: (merge, "merge"),
    }[type(task)]

    def record(task: Task, report: Callable[[Report], None], should_stop: Callable[[], bool]) -> bool:
        received.append(task)
        return False

    record.__annotations__["task"] = type(task)
    monkeypatch.setattr(module, name, record)
    task = replace(task, work_folder=tmp_path)
    run = read_specification(write_specification(task))
    assert run(print, lambda: False) is False
    assert received == [task]


@dataclass(frozen=True, kw_only=True)
class ForeignTask(Task):
    function: ClassVar[str] = "os:system"


def test_a_function_outside_of_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="function: os:system is not in the package models"):
        read_specification(write_specification(ForeignTask(work_folder=tmp_path)))


def test_an_argument_that_the_task_does_not_take_is_refused_with_its_name(tmp_path: Path) -> None:
    file = write_specification(merge.MergeTask(work_folder=tmp_path, model=HUB_MODEL))
    content = json.loads(file.read_text())
    content["task"]["model"]["source"] = "elsewhere"
    file.write_text(json.dumps(content))
    with pytest.raises(ValidationError, match=r"model\.source"):
        read_specification(file)
