"""The linear layers that GPTQ quantizes: those in a model's blocks, as optimum finds them."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from models.quantization.options import QuantizationError

PACKAGES = ("optimum", "gptqmodel")


@dataclass(frozen=True)
class Layers:
    """A model's blocks, by the name of their list, and the linear layers in them, by their whole names."""

    prefix: str
    blocks: int
    modules: dict[str, nn.Module]

    @property
    def widths(self) -> dict[str, int]:
        """How many inputs each of them has."""
        return {name: _width(module) for name, module in self.modules.items()}

    def split(self, name: str) -> tuple[int, str]:
        """The number of a layer's block, from 0, and its name in there."""
        number, _, rest = name.removeprefix(f"{self.prefix}.").partition(".")
        return int(number), rest

    def in_block(self, number: int) -> int:
        """How many of them are in the block of that number."""
        return sum(self.split(name)[0] == number for name in self.modules)


def find_layers(model: PreTrainedModel) -> Layers:
    """What GPTQ quantizes of a model. Raises QuantizationError for what the libraries do not know, or without them."""
    check_installed()
    from gptqmodel.models.auto import SUPPORTED_MODELS
    from optimum.gptq.utils import get_block_name_with_pattern, get_layers

    architecture = model.config.get_text_config().model_type
    if architecture not in SUPPORTED_MODELS:
        raise QuantizationError(
            f"model: gptqmodel does not know the architecture {architecture}; load it with bitsandbytes instead, "
            "which takes any architecture"
        )
    try:
        prefix = get_block_name_with_pattern(model)
    except ValueError as error:
        raise QuantizationError(f"model: optimum finds no blocks in {architecture}: {error}") from error
    modules: dict[str, nn.Module] = get_layers(model, prefix=f"{prefix}.")
    if not modules:
        raise QuantizationError(f"model: there are no linear layers in the blocks of {architecture}, {prefix}")
    return Layers(prefix, len(list(model.get_submodule(prefix).children())), modules)


def check_installed() -> None:
    """Raises QuantizationError where GPTQ can't be run."""
    for package in PACKAGES:
        if find_spec(package) is None:
            raise QuantizationError(f"{package} is not installed on this worker: install pagewright[worker] there")


def _width(module: nn.Module) -> int:
    weight: Any = module.weight
    return int(weight.shape[0] if isinstance(module, Conv1D) else weight.shape[1])
