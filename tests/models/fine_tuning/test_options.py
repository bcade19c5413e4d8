from typing import Any

import pytest
from pydantic import ValidationError

from models.fine_tuning.options import LoraOptions, TrainingOptions, halve_batch, replace_removed_optimizer


@pytest.mark.parametrize(
    ("batch", "accumulation", "smaller"),
    [(2, 4, (1, 8)), (8, 1, (4, 2)), (3, 4, (1, 12)), (5, 4, (2, 10)), (7, 1, (1, 7))],
)
def test_half_the_batch_size_keeps_the_number_of_rows_of_a_step(
    batch: int, accumulation: int, smaller: tuple[int, int]
) -> None:
    options = halve_batch(TrainingOptions(per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation))
    assert options is not None
    assert (options.per_device_train_batch_size, options.gradient_accumulation_steps) == smaller


def test_a_batch_of_one_cannot_be_halve_batch() -> None:
    assert halve_batch(TrainingOptions(per_device_train_batch_size=1)) is None


def test_training_takes_100_steps_unless_steps_or_epochs_are_given() -> None:
    assert TrainingOptions().max_steps == 100
    assert TrainingOptions(max_steps=None, num_train_epochs=None).max_steps == 100
    assert TrainingOptions(max_steps=7).max_steps == 7
    assert TrainingOptions(num_train_epochs=3).max_steps is None


def test_adamw_hf_is_replaced_and_other_optimizers_are_kept() -> None:
    assert replace_removed_optimizer(TrainingOptions(optim="adamw_hf")) == TrainingOptions(optim="adamw_torch")
    assert replace_removed_optimizer(TrainingOptions(optim="sgd")) == TrainingOptions(optim="sgd")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"max_steps": 3, "num_train_epochs": 3}, "num_train_epochs"),
        ({"fp16": True, "bf16": True}, "bf16"),
        ({"max_steps": "3"}, "max_steps"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"steps": 3}, "steps"),
    ],
    ids=str,
)
def test_an_invalid_training_option_is_refused_with_its_name(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        TrainingOptions(**options)
    assert [error["loc"] for error in refusal.value.errors()] == [(name,)]


def test_an_invalid_lora_option_is_refused_with_its_name() -> None:
    with pytest.raises(ValidationError, match="target_modules"):
        LoraOptions(target_modules=[])
