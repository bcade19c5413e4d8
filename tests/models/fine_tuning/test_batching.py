"""Batches of examples, in each of the ways."""

from typing import Any

import numpy as np
import pytest
import torch

from models.fine_tuning.batching import Collator, Way, model_inputs
from models.fine_tuning.examples import IGNORED, Example

EVERYTHING = frozenset({"input_ids", "attention_mask", "position_ids", "logits_to_keep", "use_cache"})
FIRST = Example(np.array([5, 6, 7, 8], dtype=np.int32), np.array([False, False, True, True]))
SECOND = Example(np.array([9, 10, 11], dtype=np.int32), np.array([False, True, True]))


def lists(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value.tolist() if torch.is_tensor(value) else value for name, value in batch.items()}


def test_a_packed_batch_is_one_row_with_the_bounds_of_its_examples() -> None:
    batch = lists(Collator(Way.PACKED, EVERYTHING)([[FIRST], [SECOND]]))
    assert batch["input_ids"] == [[5, 6, 7, 8, 9, 10, 11]]
    assert batch["position_ids"] == [[0, 1, 2, 3, 0, 1, 2]]
    assert batch["cu_seq_lens_q"] == [0, 4, 7]
    assert batch["logits_to_keep"] == [1, 2, 4, 5]
    assert batch["shift_labels"] == [[7, 8, 10, 11]]


def test_a_padded_batch_has_a_row_for_each_example_and_masks_the_padding() -> None:
    batch = lists(Collator(Way.PADDED, EVERYTHING)([[FIRST], [SECOND]]))
    assert batch["input_ids"] == [[5, 6, 7, 8], [9, 10, 11, 0]]
    assert batch["attention_mask"] == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch["logits_to_keep"] == [0, 1, 2], "the positions that count in one of the rows"
    assert batch["shift_labels"] == [[IGNORED, 7, 8], [10, 11, IGNORED]]


def test_a_single_example_is_given_to_the_model_as_its_tokens_alone() -> None:
    batch = Collator(Way.SINGLE, EVERYTHING)([[FIRST]])
    assert lists(model_inputs(batch)) == {"input_ids": [[5, 6, 7, 8]], "use_cache": False}
    assert batch["shift_labels"].tolist() == [[IGNORED, 7, 8, IGNORED]]


@pytest.mark.parametrize("way", Way)
def test_a_model_that_computes_all_logits_gets_labels_for_all_positions(way: Way) -> None:
    batch = Collator(way, frozenset({"input_ids"}))([[FIRST]])
    assert "logits_to_keep" not in batch
    assert "attention_mask" not in batch
    assert batch["shift_labels"].tolist() == [[IGNORED, 7, 8, IGNORED]]


@pytest.mark.parametrize("way", [Way.PACKED, Way.PADDED])
def test_the_loss_covers_each_token_that_counts_once(way: Way) -> None:
    batch = Collator(way, EVERYTHING)([[FIRST, SECOND]])
    counted = batch["shift_labels"][batch["shift_labels"] != IGNORED]
    assert counted.tolist() == [7, 8, 10, 11]
