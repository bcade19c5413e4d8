"""The linear layers of a model's blocks, which are what GPTQ quantizes."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from models.loading.gptq import use_plain_linears
from models.quantization.errors import QuantizationError
from models.quantization.options import GROUP_SIZES

FEATURES = 32
"""gptqmodel's kernels take numbers of inputs and outputs that are multiples of this."""

MIN_SHARE = 0.5
"""The least share of the blocks' weights that is quantized. With less, 4 bits would save less than 3/8 of the blocks,
and the result would be called a 4-bit model though most of it is not."""

INSTEAD = "load the model with 8 or 4 bits (`load`) instead"


@dataclass(frozen=True)
class Layers:
    """The linear layers of a model's `blocks` blocks.

    `prefix` is the name of the list of blocks. `modules` maps the full name of each linear layer that can be quantized
    to the layer. `left` maps the name of what stays as it is in the blocks, with `*` for numbers, to its number of
    weights. `share` is the share (0 to 1) of all the model's weights that is quantized.
    """

    prefix: str
    blocks: int
    modules: dict[str, nn.Module]
    left: dict[str, int]
    share: float

    @property
    def widths(self) -> dict[str, int]:
        """The number of inputs of each layer, by its full name."""
        return {name: features(module)[0] for name, module in self.modules.items()}

    @property
    def names(self) -> list[str]:
        """The names of the layers within their blocks, each once."""
        return list(dict.fromkeys(self.split(name)[1] for name in self.modules))

    def split(self, name: str) -> tuple[int, str]:
        """Split a layer's full name into the number of its block, counted from 0, and its name in the block."""
        number, _, rest = name.removeprefix(f"{self.prefix}.").partition(".")
        return int(number), rest

    def in_block(self, number: int) -> dict[str, nn.Module]:
        """Return the layers of a block, by their full names."""
        return {name: module for name, module in self.modules.items() if self.split(name)[0] == number}

    def describe_left(self) -> str:
        """Say which share of the weights stays as it is, and what."""
        kept = f", and of the blocks {', '.join(self.left)}" if self.left else ""
        return (
            f"{100 * self.share:.0f} % of the weights are quantized. {100 - 100 * self.share:.0f} % stay as they are: "
            f"the embeddings and the head{kept}"
        )


def find_layers(model: PreTrainedModel, unused: Collection[str] = ()) -> Layers:
    """Return the linear layers that GPTQ quantizes: those of the blocks that kernels exist for, without `unused` ones.

    Subclasses that compute what nn.Linear does become plain ones. Raises QuantizationError if the model has no blocks,
    or if most of their weights could not be quantized.
    """
    use_plain_linears(model)
    architecture = type(model).__name__
    prefix, blocks = _find_blocks(model)
    found = {f"{prefix}.{name}": layer for name, layer in blocks.named_modules() if type(layer) in (nn.Linear, Conv1D)}
    misfits = {_pattern(name) for name, layer in found.items() if any(count % FEATURES for count in features(layer))}
    skipped = misfits.union(map(_pattern, unused))
    modules = {name: layer for name, layer in found.items() if _pattern(name) not in skipped}
    quantized = {f"{name}.weight" for name in modules}
    left: dict[str, int] = {}
    for name, parameter in blocks.named_parameters(prefix=prefix):
        if name not in quantized and parameter.ndim > 1:
            key = _pattern(name.removesuffix(".weight"))
            left[key] = left.get(key, 0) + parameter.numel()
    weights = sum(layer.weight.numel() for layer in modules.values())
    if weights < MIN_SHARE * (weights + sum(left.values())):
        names = ", ".join(sorted(left, key=lambda name: -left[name])[:5])
        shapes = f" (numbers of inputs and outputs must be multiples of {FEATURES})" if misfits & left.keys() else ""
        percent = 100 * weights / sum([weights, *left.values()])
        raise QuantizationError(
            f"model: GPTQ can quantize only {percent:.0f} % of the weights in the blocks of {architecture}, and at "
            f"least {100 * MIN_SHARE:.0f} % are required. It can't quantize {names}{shapes}: {INSTEAD}"
        )
    share = weights / sum(parameter.numel() for parameter in model.parameters())
    return Layers(prefix, len(blocks), modules, left, share)


def check_group_size(group_size: int, widths: dict[str, int]) -> None:
    """Raise QuantizationError if the group size does not divide the number of inputs of every layer.

    `widths` maps the name of each layer to its number of inputs.
    """
    if group_size == -1:
        return
    for name, width in widths.items():
        if width % group_size:
            valid = [size for size in GROUP_SIZES if all(width % size == 0 for width in widths.values())]
            raise QuantizationError(
                f"group_size: {group_size} does not divide the {width} inputs of {name}; "
                f"valid for this model: {', '.join(map(str, valid))}"
            )


def features(layer: Any) -> tuple[int, int]:
    """Return a linear layer's numbers of inputs and outputs."""
    first, second = layer.weight.shape
    return (first, second) if isinstance(layer, Conv1D) else (second, first)


def _find_blocks(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Return the list of modules, not itself within another, that has the most weights."""
    lists: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{outer}.") for outer in lists):
            lists[name] = module
    if not lists:
        raise QuantizationError(f"model: {type(model).__name__} has no list of blocks, which GPTQ needs: {INSTEAD}")
    return max(lists.items(), key=lambda item: sum(parameter.numel() for parameter in item[1].parameters()))


def _pattern(name: str) -> str:
    return re.sub(r"\.\d+(?=\.)", ".*", name)
