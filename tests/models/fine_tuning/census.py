"""How an architecture is fine-tuned, found out by training a tiny random model of it. A column of docs/models.md."""

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from models.fine_tuning.adapter import add_adapter, save_adapter
from models.fine_tuning.batching import Way
from models.fine_tuning.check import choose_way
from models.fine_tuning.errors import FineTuneError
from models.fine_tuning.examples import Example
from models.fine_tuning.options import ALL_LINEAR, LoraOptions, TrainingOptions
from models.fine_tuning.trainer import Progress, make_trainer
from models.loading.loader import load
from models.loading.merging import merge
from models.loading.refs import ModelLoadError, ModelRef, Source
from models.tasks.reports import Report, Step
from tests.models import architectures

LENGTHS = (45, 17)
"""Windows and the border of longrope are within the longer row."""

OPTIONS: dict[str, Any] = {
    "max_steps": 2, "warmup_steps": 0, "learning_rate": 0.02, "lr_scheduler_type": "constant", "save_steps": None,
    "max_grad_norm": 0,
}  # fmt: skip


@cache
def trained(name: str) -> tuple[str, str]:
    """Return how an architecture's batches are made, and why not faster.

    Raises AssertionError if the losses of two rows in a batch are not those of one after the other, if the first is not
    that of plain transformers, or if the adapter, reloaded or merged, computes other logits than after the training.
    """
    rows = _rows()
    model = _without_dropout(architectures.make(name)[0])
    plain = _plain_loss(model, rows)
    try:
        way, reason, together, adapted = _train(name, rows, batch=2)
    except (FineTuneError, ModelLoadError) as error:
        return "refused", str(error)
    _, _, one_by_one, _ = _train(name, rows, batch=1)
    assert together == pytest.approx(one_by_one, rel=1e-3), f"{name} in a batch and one by one"
    assert together[0] == pytest.approx(plain, rel=1e-4), f"{name} by Pagewright and by transformers"

    adapted.base_model.model.set_attn_implementation(model.config._attn_implementation)
    expected = _logits(adapted.base_model.model)
    assert (expected - _logits(model)).abs().max() > 0.01, f"{name} has learned something"
    with tempfile.TemporaryDirectory() as folder:
        base, adapter, merged = (Path(folder) / each for each in ("base", "adapter", "merged"))
        for part in architectures.make(name):
            part.save_pretrained(base)
        save_adapter(adapted, name, None, adapter)
        ref = ModelRef(Source.LOCAL, str(base), adapter=str(adapter))
        try:
            load(ref.base, "cpu")
        except ModelLoadError as error:
            return "not tried", f"the tiny model can't be saved and loaded: {error}".splitlines()[0]
        merge(ref, merged)
        for what, saved in (("reloaded", ref), ("merged", replace(ref, location=str(merged), adapter=None))):
            torch.testing.assert_close(
                _logits(_without_dropout(load(saved, "cpu", torch.float32)[0])),
                expected,
                atol=2e-3,
                rtol=2e-3,
                msg=f"{name}, {what}",
            )
    return str(way), reason or ""


def _rows() -> list[Example]:
    random = np.random.default_rng(0)
    letters = (architectures.UNKNOWN + 1, architectures.VOCABULARY)
    return [Example(random.integers(*letters, length).astype(np.int32), np.arange(length) > 3) for length in LENGTHS]


def _train(name: str, rows: list[Example], batch: int) -> tuple[Way, str | None, list[float], Any]:
    """Return the way and its reason, the loss of each step over both rows, and the adapted model."""
    model = _without_dropout(architectures.make(name)[0])
    torch.manual_seed(0)
    adapted = add_adapter(model, LoraOptions(target_modules=[ALL_LINEAR], dropout=0))
    choice = choose_way(model, rows)
    options = TrainingOptions(per_device_train_batch_size=batch, gradient_accumulation_steps=2 // batch, **OPTIONS)
    reports: list[Report] = []
    with tempfile.TemporaryDirectory() as folder:
        grouped = [[row] for row in rows]
        trainer = make_trainer(adapted, grouped, [], options, choice.way, Path(folder), fp16=False, bf16=False)
        trainer.add_callback(Progress(trainer, reports.append, lambda: False))
        trainer.train()
    losses = [report.loss for report in reports if isinstance(report, Step) and report.loss is not None]
    return choice.way, choice.reason, losses, adapted


def _plain_loss(model: Any, rows: list[Example]) -> float:
    """By transformers' own model and PyTorch alone, one row after the other; with the loss for a balance of experts."""
    losses: list[torch.Tensor] = []
    for row in rows:
        ids = torch.from_numpy(row.tokens.astype(np.int64))
        with torch.no_grad():
            logits = model(ids[None]).logits[0, :-1]
        learn = torch.from_numpy(row.learn[1:])
        losses.append(cross_entropy(logits[learn], ids[1:][learn], reduction="none"))
    return float(torch.cat(losses).mean())


def _logits(model: Any) -> torch.Tensor:
    ids = torch.from_numpy(_rows()[0].tokens.astype(np.int64))[None]
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(ids).logits
    return logits


def _without_dropout(model: Any) -> Any:
    """Take out what is random in training: a batch would draw other numbers than its rows one by one."""
    for place in (*model.modules(), model.config.get_text_config()):
        for attribute, value in list(vars(place).items()):
            random = "drop" in attribute or "jitter" in attribute or isinstance(place, torch.nn.Dropout)
            if random and isinstance(value, float):
                setattr(place, attribute, 0.0)
    return model
