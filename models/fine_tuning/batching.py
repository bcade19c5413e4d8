"""Examples as batches for `model(**batch)`, in one of three ways."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils.rnn import pad_sequence
from transformers import DataCollatorWithFlattening, PreTrainedModel

from models.fine_tuning.examples import IGNORED, Example

_flatten = DataCollatorWithFlattening(return_flash_attn_kwargs=True, separator_id=IGNORED)

_NO_INPUTS = ("labels", "shift_labels")
"""The entries of a batch that are not for the model."""


class Way(StrEnum):
    """How the examples of a batch are given to the model."""

    PACKED = "packed"
    """End to end as one row of tokens. The attention of `models.fine_tuning.attention` keeps them apart."""
    PADDED = "padded"
    """Each in a row of its own, padded on the right. The model's own attention masks the padding."""
    SINGLE = "one row at a time"
    """One example per batch, as plain transformers computes it: without padding, a mask or packing."""


@dataclass(frozen=True)
class Collator:
    """Makes batches in one way. `accepted` holds the names of the arguments that the model's forward pass accepts."""

    way: Way
    accepted: frozenset[str]

    @classmethod
    def for_model(cls, model: PreTrainedModel, way: Way) -> "Collator":
        return cls(way, frozenset(signature(model.forward).parameters))

    def __call__(self, rows: Iterable[Sequence[Example]]) -> dict[str, Any]:
        """Return all examples of the rows as one batch."""
        examples = [example for row in rows for example in row]
        return self.batch([example.tokens for example in examples], [example.labels for example in examples])

    def batch(self, tokens: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> dict[str, Any]:
        """Return token sequences as one batch. The labels of a sequence are its tokens, or IGNORED.

        `shift_labels`, [rows, positions], is what the model should predict at each position for which it computes
        logits. Where the model supports it, these are only those positions whose next token counts in the loss.
        """
        batch = _packed(tokens, labels) if self.way == Way.PACKED else _padded(tokens, labels)
        targets = pad(batch["labels"], (0, 1), value=IGNORED)[:, 1:]
        if "attention_mask" not in self.accepted or self.way == Way.SINGLE:
            batch.pop("attention_mask", None)
        if "logits_to_keep" in self.accepted and self.way != Way.SINGLE:
            batch["logits_to_keep"] = (targets != IGNORED).any(0).nonzero().squeeze(1)
            targets = targets[:, batch["logits_to_keep"]]
        if "use_cache" in self.accepted:
            batch["use_cache"] = False
        # Trainer counts the tokens in `shift_labels`, and hands `labels` to the function that computes the loss.
        return {**batch, "labels": targets, "shift_labels": targets}


def model_inputs(batch: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a batch that is for the model."""
    return {name: value for name, value in batch.items() if name not in _NO_INPUTS}


def on_device(batch: dict[str, Any], device: torch.device | str) -> dict[str, Any]:
    return {name: value.to(device) if torch.is_tensor(value) else value for name, value in batch.items()}


def token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the loss of each token that counts, in nats, in the order of the rows and positions.

    `logits` is [rows, positions, vocabulary]. `labels` is [rows, positions]; what is IGNORED does not count.
    """
    counted = labels != IGNORED
    return cross_entropy(logits[counted].float(), labels[counted], reduction="none")


def _packed(tokens: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> dict[str, Any]:
    """DataCollatorWithFlattening gives [1, tokens], positions that restart, and the sequences' bounds."""
    flat: dict[str, Any] = _flatten(
        [{"input_ids": own, "labels": label} for own, label in zip(tokens, labels, strict=True)]
    )
    return flat


def _padded(tokens: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> dict[str, Any]:
    ids = [torch.from_numpy(own.astype(np.int64)) for own in tokens]
    return {
        "input_ids": pad_sequence(ids, batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(own) for own in ids], batch_first=True),
        "labels": pad_sequence(
            [torch.from_numpy(own.astype(np.int64)) for own in labels], batch_first=True, padding_value=IGNORED
        ),
    }
