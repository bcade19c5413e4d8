"""Adapters trained and served over quantized base models."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from models.fine_tuning.options import LoraOptions
from models.fine_tuning.task import FineTuneTask
from models.fine_tuning.training import fine_tune
from models.loading.loader import default_device, load
from models.loading.refs import ModelRef
from models.prompts.rows import Row
from models.prompts.templates import build_prompt
from models.serving.engine import Sampling
from models.serving.pool import ModelPool
from models.tasks.reports import Checkpoint, Report, Step
from tests.adapters import generated
from tests.quantized import STARTER, in_autogptq_layout, make_gptq

MakeTask = Callable[..., FineTuneTask]

HARD = {"learning_rate": 3e-3, "packing": True}
ROW = Row("Say it.", "", "<p>It</p>")
TOKENS = 12
IN_8_BITS, IN_4_BITS = replace(STARTER, bitsandbytes=8), replace(STARTER, bitsandbytes=4)


@pytest.fixture(scope="module")
def gptq(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return make_gptq(tmp_path_factory.mktemp("gptq"))


def train(task: FineTuneTask) -> list[Report]:
    reports: list[Report] = []
    assert fine_tune(task, reports.append, lambda: False)
    return reports


def losses(reports: list[Report]) -> dict[int, float]:
    return {report.step: report.loss for report in reports if isinstance(report, Step) and report.loss is not None}


def served(refs: list[ModelRef], prompt: str) -> list[str]:
    """Return what engines over the same weights generate at the same time."""
    pool = ModelPool(2**29, device="cpu")
    with closing(pool), ExitStack() as stack:
        engines = [stack.enter_context(pool.borrow(ref)) for ref in refs]
        running = [engine.submit(prompt, Sampling(max_new_tokens=TOKENS)) for engine in engines]
        return [request.future.result().text for request in running]


def test_an_adapter_over_a_gptq_base_changes_its_logits_and_resumes(
    make_task: MakeTask, gptq: ModelRef, rows: list[Row]
) -> None:
    task = make_task(base=gptq, max_steps=12, save_steps=6, **HARD)
    reports = train(task)
    measured = losses(reports)
    assert measured[12] < measured[1]

    model: Any
    model, tokenizer = load(gptq, "cpu", torch.float32, for_training=True)
    prompt = tokenizer(build_prompt(rows[0].instruction, rows[0].input), return_tensors="pt")
    with torch.no_grad():
        before = model(**prompt).logits
        adapted = PeftModel.from_pretrained(model, str(task.result_folder))  # PEFT moves it to a GPU if there is one
        after = adapted(**prompt.to(adapted.device)).logits.cpu()
    assert not torch.allclose(before, after, atol=1e-3)

    first = next(report for report in reports if isinstance(report, Checkpoint))
    rest = train(make_task(base=gptq, max_steps=12, save_steps=6, checkpoint=Path(first.folder), **HARD))
    rounding = 1e-6 if default_device() == "cpu" else 1e-3  # a GPU adds in another order each time
    assert losses(rest)[12] == pytest.approx(measured[12], abs=rounding)


@pytest.fixture
def short(tmp_path: Path, write_rows: Callable[[Path, list[Row]], Path]) -> Path:
    return write_rows(tmp_path / "short.parquet", [ROW] * 8)


@pytest.mark.parametrize("kind", ["gptq", "autogptq", "8 bits", "4 bits"])
def test_an_adapter_over_a_quantized_base_learns_and_is_served(
    make_task: MakeTask, short: Path, gptq: ModelRef, tmp_path: Path, kind: str
) -> None:
    if kind.endswith("bits"):
        base = {"8 bits": IN_8_BITS, "4 bits": IN_4_BITS}[kind]
    else:
        base = gptq if kind == "gptq" else in_autogptq_layout(gptq, tmp_path / "autogptq")
    task = make_task(base=base, train=short, evaluation=short, max_steps=10, eval_steps=5, **HARD)
    reports = train(task)
    evaluated = [report.eval_loss for report in reports if isinstance(report, Step) and report.eval_loss]
    assert evaluated[1] < evaluated[0]
    measured = losses(reports)
    assert measured[10] < 0.5 * measured[1]

    adapted = replace(base, adapter=str(task.result_folder))
    prompt = build_prompt(ROW.instruction)
    texts = served([base, adapted], prompt)
    assert texts == [generated(load(ref, "cpu")[0], prompt, TOKENS) for ref in (base, adapted)]
    assert texts[0] != texts[1]


def test_gradient_checkpointing_changes_no_gradient(make_task: MakeTask, short: Path) -> None:
    options = {"base": IN_4_BITS, "train": short, "max_steps": 2, "lora": LoraOptions(dropout=0), **HARD}
    plain, saving = (
        [
            report.grad_norm
            for report in train(make_task(gradient_checkpointing=on, **options))
            if isinstance(report, Step)
        ]
        for on in (False, True)
    )
    assert saving == pytest.approx(plain)
