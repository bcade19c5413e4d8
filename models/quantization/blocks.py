"""What the blocks of a model get and return in forward passes over the calibration texts.

GPTQ runs one block after the other. A block's hidden states are what the block before computes. What else it gets, such
as its mask and its rotary angles, may differ by block, and is taken from a pass of the whole model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree
from transformers import PreTrainedModel

from models.loading.first_run import lasting_errors
from models.loading.refs import ModelLoadError
from models.quantization.errors import QuantizationError
from models.quantization.layers import INSTEAD

HIDDEN = "hidden_states"


@dataclass(frozen=True)
class Call:
    """The arguments of a block in one pass. `hidden` is its hidden states, which `rest` and `named` are without."""

    hidden: torch.Tensor
    rest: tuple[Any, ...]
    named: dict[str, Any]

    @staticmethod
    def of(arguments: tuple[Any, ...], named: dict[str, Any]) -> "Call":
        """Take the hidden states out of a block's arguments, and copy them, since a block may change them in place."""
        if HIDDEN in named:
            rest = {name: value for name, value in named.items() if name != HIDDEN}
            return Call(named[HIDDEN].clone(), arguments, rest)
        return Call(arguments[0].clone(), arguments[1:], named)

    def to(self, device: str) -> "Call":
        """Return the call with its tensors on a device."""
        parts = (self.hidden, self.rest, self.named)
        return Call(*pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), parts))

    def run(self, block: nn.Module, hidden: torch.Tensor | None = None) -> torch.Tensor:
        """Run the block, on other hidden states if given, and return the hidden states that come out."""
        return hidden_of(block((self.hidden if hidden is None else hidden).clone(), *self.rest, **self.named))


def hidden_of(output: Any) -> torch.Tensor:
    """Return the hidden states in what a block returns."""
    hidden = output[0] if isinstance(output, tuple | list) else output
    assert isinstance(hidden, torch.Tensor)
    return hidden


def record(model: PreTrainedModel, blocks: nn.ModuleList, texts: Sequence[np.ndarray]) -> list[list[Call]]:
    """Return the calls of every block, by text and then by block, of forward passes over the texts' tokens.

    The hidden states are those of the first block in all calls. Raises ModelLoadError if the model can't run, and
    QuantizationError if running one block after the other does not compute what the model does.
    """
    calls, outputs = _pass(model, blocks, texts[0])
    _check_chain(blocks, calls, outputs)
    # Where the other arguments do not depend on what the blocks compute, the blocks need not run.
    stubs = [_stub(output) for output in outputs]
    try:
        quick = _same(calls, _pass(model, blocks, texts[0], stubs)[0])
    except ModelLoadError:  # the model can't run without them
        quick = False
    return [_with_first(calls)] + [_with_first(_pass(model, blocks, text, stubs * quick)[0]) for text in texts[1:]]


def unused(model: PreTrainedModel, modules: Mapping[str, nn.Module], text: np.ndarray) -> set[str]:
    """Return the names of the layers that a pass over the text does not call.

    Their inputs are not known. Some models multiply with the weight of a layer instead, which a quantized one lacks.
    """
    called: set[nn.Module] = set()
    handles = [layer.register_forward_pre_hook(lambda layer, _: called.add(layer)) for layer in modules.values()]
    try:
        run_on(model, text)
    finally:
        for handle in handles:
            handle.remove()
    return {name for name, layer in modules.items() if layer not in called}


def run_on(model: PreTrainedModel, text: np.ndarray) -> None:
    """Run the model on a text's tokens. Raises ModelLoadError if it can't."""
    tokens = torch.from_numpy(text)[None].long().to(next(model.parameters()).device)
    with lasting_errors(f"running {type(model).__name__} on a calibration text"):
        model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)


def _with_first(calls: list[Call]) -> list[Call]:
    """Return the calls with the first one's hidden states: those of all blocks would take too much memory."""
    return [replace(call, hidden=calls[0].hidden) for call in calls]


def _pass(
    model: PreTrainedModel, blocks: nn.ModuleList, text: np.ndarray, stubs: Sequence[Any] = ()
) -> tuple[list[Call], list[Any]]:
    """Run the model on one text, and return the calls of the blocks and what they returned."""
    order: list[nn.Module] = []
    calls: list[Call] = []
    outputs: list[Any] = []

    def before(block: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        order.append(block)
        calls.append(Call.of(arguments, named))

    def after(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        outputs.append(
            pytree.tree_map(lambda value: value.clone() if isinstance(value, torch.Tensor) else value, output)
        )

    handles: list[Any] = []
    for number, block in enumerate(blocks):
        handles += [block.register_forward_pre_hook(before, with_kwargs=True), block.register_forward_hook(after)]
        if stubs:
            block.forward = stubs[number]
    try:
        run_on(model, text)
    finally:
        for handle in handles:
            handle.remove()
        if stubs:
            for block in blocks:
                del block.forward
    if order != list(blocks):
        raise QuantizationError(
            f"model: the blocks of {type(model).__name__} do not run once each, one after the other: {INSTEAD}"
        )
    return calls, outputs


def _stub(output: Any) -> Any:
    """Return a function in place of a block's, which returns the hidden states that it gets in the form of `output`."""

    def forward(*arguments: Any, **named: Any) -> Any:
        hidden = named[HIDDEN] if HIDDEN in named else arguments[0]
        return hidden if isinstance(output, torch.Tensor) else type(output)([hidden, *output[1:]])

    return forward


def _check_chain(blocks: nn.ModuleList, calls: list[Call], outputs: list[Any]) -> None:
    """Raise QuantizationError unless each block, run alone, returns what the next one got in the whole pass."""
    following = [call.hidden for call in calls[1:]] + [hidden_of(outputs[-1])]
    for number, (block, call, wanted) in enumerate(zip(blocks, calls, following, strict=True)):
        try:
            alone = call.run(block)
        except TypeError as error:  # it takes its arguments in another way
            raise QuantizationError(f"model: block {number} can't be run alone ({error}): {INSTEAD}") from error
        if alone.shape != wanted.shape or not torch.allclose(alone, wanted, rtol=1e-3, atol=1e-4):
            raise QuantizationError(
                f"model: what block {number} computes is not what the next block gets, so GPTQ would be calibrated on "
                f"wrong inputs: {INSTEAD}"
            )


def _same(calls: list[Call], others: list[Call]) -> bool:
    """Whether the blocks got the same arguments beside their hidden states."""
    leaves, others_leaves = (
        pytree.tree_flatten([(call.rest, call.named) for call in each]) for each in (calls, others)
    )
    return leaves[1] == others_leaves[1] and all(map(_equal, leaves[0], others_leaves[0]))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return one is other or bool(type(one) is type(other) and isinstance(one, str | int | float) and one == other)
