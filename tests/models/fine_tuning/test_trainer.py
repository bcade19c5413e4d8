"""What `models.fine_tuning.trainer` relies on in transformers' Trainer."""

import inspect
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from models.fine_tuning.trainer import is_complete


class Recorder(TrainerCallback):
    def __init__(self) -> None:
        self.learning_rates: list[float] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.learning_rates.append(more["lr_scheduler"].get_last_lr()[0])


class Squares(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": ((self.weight - labels) ** 2).mean()}


def test_trainer_calls_the_methods_that_are_overridden() -> None:
    assert list(inspect.signature(Trainer.training_step).parameters) == [
        "self",
        "model",
        "inputs",
        "num_items_in_batch",
    ]
    assert {"evaluate", "training_step"} <= {
        name for method in (Trainer._evaluate, Trainer._run_epoch) for name in method.__code__.co_names
    }


def test_a_checkpoint_is_a_folder_with_the_state_of_the_trainer_and_pickled_arguments(tmp_path: Path) -> None:
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=2,
        save_steps=1,
        learning_rate=0.5,
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
    )
    recorder = Recorder()
    rows: Any = [{"labels": 1.0}] * 8
    Trainer(model=Squares(), args=arguments, train_dataset=rows, callbacks=[recorder]).train()
    assert recorder.learning_rates == [0.5, 0.25]
    assert not is_complete(tmp_path / "checkpoint-1")
    assert is_complete(tmp_path / "checkpoint-2")
    assert (tmp_path / "checkpoint-2" / "training_args.bin").is_file()


def test_trainer_takes_the_labels_out_of_a_batch_and_counts_shifted_ones(tmp_path: Path) -> None:
    """What `compute_loss` and the batches of `models.fine_tuning.batching` rely on."""
    seen: list[tuple[list[str], float]] = []

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
            self.inputs = sorted(inputs)
            return {"weight": self.weight}

    model = Model()

    def loss(output: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor) -> torch.Tensor:
        seen.append((model.inputs, float(num_items_in_batch)))
        return ((output["weight"] - labels) ** 2).sum() / num_items_in_batch

    class LossTrainer(Trainer):
        def compute_loss(self, model: Any, inputs: Any, *arguments: Any, **named: Any) -> Any:
            inputs = {name: value for name, value in inputs.items() if name != "shift_labels"}
            return super().compute_loss(model, inputs, *arguments, **named)

    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=2, gradient_accumulation_steps=2,
        use_cpu=True, disable_tqdm=True, report_to="none", remove_unused_columns=False,
    )  # fmt: skip
    row = {"x": [1.0], "labels": [1.0, 2.0], "shift_labels": [1, -100]}
    rows: Any = [row] * 4
    trainer = LossTrainer(model=model, args=arguments, train_dataset=rows, compute_loss_func=loss)
    trainer.model_accepts_loss_kwargs = False
    trainer.train()
    assert seen == [(["x"], 4.0)] * 2, "the counted labels of both batches of the step, and no label for the model"
