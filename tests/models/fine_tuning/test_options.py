import pytest

from models.fine_tuning.options import TrainingOptions, halve_batch


@pytest.mark.parametrize(
    ("batch", "accumulation", "smaller"),
    [(2, 4, (1, 8)), (8, 1, (4, 2)), (3, 4, (1, 12)), (5, 4, (2, 10)), (7, 1, (1, 7))],
)
def test_half_the_batch_makes_steps_of_as_many_rows(batch: int, accumulation: int, smaller: tuple[int, int]) -> None:
    options = halve_batch(TrainingOptions(per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation))
    assert options is not None
    assert (options.per_device_train_batch_size, options.gradient_accumulation_steps) == smaller


def test_a_batch_of_one_cannot_be_halve_batch() -> None:
    assert halve_batch(TrainingOptions(per_device_train_batch_size=1)) is None
