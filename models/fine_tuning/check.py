"""Chooses how a model's examples are batched: the fastest way whose losses are those of each example alone.

Whether rows of a batch affect each other depends on the architecture: some have an attention of their own, which knows
nothing of packed rows. So a batch is computed before the first step and compared with plain transformers.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from models.fine_tuning import attention
from models.fine_tuning.batching import Collator, Way, model_inputs, on_device, token_losses
from models.fine_tuning.errors import FineTuneError
from models.fine_tuning.examples import Example
from models.loading.first_run import lasting_errors, reason
from models.loading.properties import WINDOWS, config_values, rope_parameters
from models.tasks.errors import is_out_of_memory

_TOKENS = 256
"""The length of the longer row of the check, unless the model's attention has a window that is longer."""


@dataclass(frozen=True)
class Choice:
    """The way that is chosen. `reason` says why it is not a faster one, None for the fastest."""

    way: Way
    reason: str | None = None


@dataclass(frozen=True)
class LengthDependence:
    """Rows of more than `border` tokens change the rotary angles of all rows of their batch.

    `rope_type` is transformers' name: `longrope` has one set of angles on each side of the border, `dynamic` computes
    new ones for each length, and keeps them for the rows that follow.
    """

    rope_type: str
    border: int


def length_dependence(config: PreTrainedConfig) -> LengthDependence | None:
    """Return how the rotary angles depend on the longest row of a batch, or None if they don't."""
    context: Any = getattr(config.get_text_config(), "max_position_embeddings", None)
    for rope in rope_parameters(config):
        match rope.get("rope_type"):
            case "longrope":
                return LengthDependence("longrope", int(rope.get("original_max_position_embeddings") or context))
            case "dynamic":
                return LengthDependence("dynamic", int(context))
    return None


def choose_way(model: PreTrainedModel, examples: Sequence[Example]) -> Choice:
    """Return the fastest way in which the model gives each example the losses that it has alone.

    Leaves the model with the attention that the way needs. Raises FineTuneError for a model whose tokens see those
    after them, and ModelLoadError for one that can't be run.
    """
    own_attention = model.config._attn_implementation
    choice = _by_configuration(model, examples) or _by_trial(model, examples)
    model.set_attn_implementation(attention.NAME if choice.way == Way.PACKED else own_attention)
    return choice


def _by_configuration(model: PreTrainedModel, examples: Sequence[Example]) -> Choice | None:
    """Choose one row at a time for what depends on the whole batch by design, which short rows may not show."""
    if any(config_values(model.config, "output_router_logits")):
        return Choice(Way.SINGLE, "its load-balancing loss (output_router_logits) is computed over all rows of a batch")
    dependence = length_dependence(model.config)
    if dependence and max(map(len, examples)) > dependence.border:
        return Choice(
            Way.SINGLE,
            f"its {dependence.rope_type} position encoding depends on whether the longest row of a batch has more than "
            f"{dependence.border} tokens",
        )
    return None


def _by_trial(model: PreTrainedModel, examples: Sequence[Example]) -> Choice:
    window = _window(model.config)
    rows = _trial_rows(examples, window)
    own_attention = model.config._attn_implementation
    with _evaluating(model):
        architecture = model.config.model_type
        with lasting_errors(f"model: a forward pass of {architecture}"):
            alone = [_losses(model, Way.SINGLE, [row])[0] for row in rows]
            half = len(rows[0]) // 2
            prefix = _losses(model, Way.SINGLE, [rows[0][:half]])[0]
        spread = float(torch.cat(alone).std())
        if not math.isfinite(spread):  # training reports it, with the step
            return Choice(Way.PACKED)
        if _error([alone[0][: half - 1]], [prefix], None) > _tolerance(model) * spread:
            raise FineTuneError(
                f"model: the tokens of {architecture} see the tokens after them, so it can't be taught to write: use a "
                "causal language model"
            )
        reasons = []
        for way, name in ((Way.PACKED, attention.NAME), (Way.PADDED, own_attention)):
            model.set_attn_implementation(name)
            try:
                error = _error(_losses(model, way, rows), alone, window)
            except Exception as failure:
                if is_out_of_memory(failure) or isinstance(failure, torch.AcceleratorError):
                    raise
                reasons.append(f"{way} rows fail ({reason(failure)})")
                continue
            if error <= _tolerance(model) * spread:
                return Choice(way, "; ".join(reasons) or None)
            reasons.append(f"the losses of {way} rows are not those of each row alone")
    return Choice(Way.SINGLE, "; ".join(reasons))


def _trial_rows(examples: Sequence[Example], window: int | None) -> list[np.ndarray]:
    """Return the start of the longest row and of the shortest, which has at most half as many tokens."""
    longest, shortest = max(examples, key=len), min(examples, key=len)
    limit = _TOKENS if window is None else max(_TOKENS, 2 * window)
    first = longest.tokens[:limit]
    return [first, shortest.tokens[: max(2, len(first) // 2)]]


def _losses(model: PreTrainedModel, way: Way, rows: list[np.ndarray]) -> list[torch.Tensor]:
    """Return the loss of each token of each row but its first one, when the rows are one batch."""
    batch = on_device(Collator.for_model(model, way).batch(rows, rows), model.device)
    output: Any = model(**model_inputs(batch))
    return list(token_losses(output.logits, batch["labels"]).cpu().split([len(row) - 1 for row in rows]))


def _error(losses: list[torch.Tensor], expected: list[torch.Tensor], window: int | None) -> float:
    """Return the largest root mean square of the differences over a row, or over its part beyond the window."""
    parts = []
    for own, alone in zip(losses, expected, strict=True):
        difference = own - alone
        parts += [difference, difference[window:]] if window else [difference]
    return max(float(part.square().mean().sqrt()) for part in parts if part.numel())


def _tolerance(model: PreTrainedModel) -> float:
    """Return what rounding may change of the tokens' losses, as a share of their standard deviation.

    Half of the digits of the numbers must agree. Rounding in some tens of layers costs about two binary digits of
    bfloat16's eight; a token that attends to another row, or misses its own, leaves hardly a digit.
    """
    epsilon = torch.finfo(model.dtype).eps
    if getattr(model, "is_loaded_in_8bit", False):  # each activation has eight bits
        epsilon = max(epsilon, 2**-7)
    return math.sqrt(epsilon)


def _window(config: PreTrainedConfig) -> int | None:
    """Return the smallest number of tokens to which the attention of a layer is limited, or None."""
    sizes = [size for name in WINDOWS for size in config_values(config, name)]
    return min((size for size in sizes if isinstance(size, int) and size > 0), default=None)


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Compute without dropout and gradients."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
