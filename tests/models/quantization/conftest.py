"""Fixtures: small models, calibration rows, and quantizations of the models."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import models.starter
from models.loading.loader import load
from models.loading.refs import ModelRef, Source
from models.prompts.rows import Row
from models.quantization.gptq import quantize
from models.quantization.options import QuantizationOptions
from models.quantization.task import QuantizeTask
from models.tasks.reports import Report

STARTER = ModelRef(Source.BUNDLED, "starter")
HELD_OUT = models.starter.HELD_OUT

MakeTask = Callable[..., QuantizeTask]
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Quantization:
    """A finished task and its reports."""

    task: QuantizeTask
    reports: list[Report]

    @property
    def result(self) -> ModelRef:
        return ModelRef(Source.LOCAL, str(self.task.result_folder))

    def of_kind(self, kind: type[Kind]) -> list[Kind]:
        return [report for report in self.reports if isinstance(report, kind)]


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    return [Row(**json.loads(line)) for line in HELD_OUT.read_text().splitlines()[::20]]


@pytest.fixture(scope="session")
def write_rows() -> Callable[[Path, list[Row]], Path]:
    def write(file: Path, rows: list[Row]) -> Path:
        columns = {name: [getattr(row, name) for row in rows] for name in ("instruction", "input", "output")}
        pq.write_table(pa.table(columns), file)
        return file

    return write


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """The starter's first layer, in bfloat16 as the starter is."""
    folder = tmp_path_factory.mktemp("small")
    model, tokenizer = load(STARTER, "cpu", "auto")
    model.config.num_hidden_layers = 1
    model.model.layers = model.model.layers[:1]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return ModelRef(Source.LOCAL, str(folder))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """One narrow layer with random weights, which is quantized in a tenth of the time."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config: Any = LlamaConfig.from_pretrained(
        HELD_OUT.parent, hidden_size=64, intermediate_size=128, num_attention_heads=1, num_key_value_heads=1
    )
    config.num_hidden_layers = 1
    LlamaForCausalLM(config).save_pretrained(folder)
    load(STARTER, "cpu")[1].save_pretrained(folder)
    return ModelRef(Source.LOCAL, str(folder))


@pytest.fixture(scope="session")
def make_task(
    tmp_path_factory: pytest.TempPathFactory,
    tiny: ModelRef,
    rows: list[Row],
    write_rows: Callable[[Path, list[Row]], Path],
) -> MakeTask:
    """Makes tasks, each in a new work folder, by default for the tiny model and calibrated on most rows."""

    def make(
        *,
        model: ModelRef = tiny,
        calibration: list[Row] = rows[5:],
        evaluation: list[Row] | None = None,
        **options: Any,
    ) -> QuantizeTask:
        folder = tmp_path_factory.mktemp("work")
        return QuantizeTask(
            model=model,
            calibration=write_rows(folder / "calibration.parquet", calibration),
            options=QuantizationOptions(**{"group_size": 64, **options}),
            work_folder=folder,
            evaluation=write_rows(folder / "evaluation.parquet", evaluation) if evaluation else None,
        )

    return make


@pytest.fixture(scope="session")
def run(make_task: MakeTask) -> Callable[..., Quantization]:
    """Runs a new task with the given options to its end."""

    def run(**options: Any) -> Quantization:
        task = make_task(**options)
        reports: list[Report] = []
        assert quantize(task, reports.append, lambda: False)
        return Quantization(task, reports)

    return run


@pytest.fixture(scope="session")
def quantized(run: Callable[..., Quantization], small: ModelRef, rows: list[Row]) -> Quantization:
    """The small model in 4 bits, with its variants measured."""
    return run(model=small, evaluation=rows[:5])
