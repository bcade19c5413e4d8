"""The linear layers of a model's blocks, which are what GPTQ quantizes."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from models.quantization.errors import QuantizationError
from models.quantization.options import GROUP_SIZES


@dataclass(frozen=True)
class Layers:
    """The linear layers of a model's `blocks` blocks.

    `prefix` is the name of the list of blocks. `modules` maps the full name of each linear layer to the layer.
    """

    prefix: str
    blocks: int
    modules: dict[str, nn.Module]

    @property
    def widths(self) -> dict[str, int]:
        """The number of inputs of each layer, by its full name."""
        return {name: _width(module) for name, module in self.modules.items()}

    def split(self, name: str) -> tuple[int, str]:
        """Split a layer's full name into the number of its block, counted from 0, and its name in the block."""
        number, _, rest = name.removeprefix(f"{self.prefix}.").partition(".")
        return int(number), rest

    def in_block(self, number: int) -> int:
        """Return the number of linear layers in a block."""
        return sum(self.split(name)[0] == number for name in self.modules)


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


def _width(module: nn.Module) -> int:
    weight: Any = module.weight
    return int(weight.shape[0] if isinstance(module, Conv1D) else weight.shape[1])
