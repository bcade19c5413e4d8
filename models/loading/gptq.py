"""How transformers builds a model for GPTQ weights. The seam to its quantizer registry (5.23), and to optimum's (2.3).

optimum quantizes every `nn.Linear` of the blocks by the same settings. Here subclasses that compute the same are
quantized too, and gptqmodel's `dynamic` rules, settings by the names of layers, are followed.
tests/models/loading/test_gptq.py fails when these internals change.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import GPTQConfig, PreTrainedModel
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING, AUTO_QUANTIZER_MAPPING
from transformers.quantizers.quantizer_gptq import GptqHfQuantizer

LIKE_LINEAR = ("FalconLinear",)
"""Subclasses of nn.Linear that compute what it does. Others are routers of mixtures, or multiply in groups."""

RULES = ("bits", "group_size", "desc_act", "sym")
"""The settings that a rule may give for a layer."""


def register() -> None:
    """Make transformers load GPTQ weights this way."""
    AUTO_QUANTIZATION_CONFIG_MAPPING["gptq"] = DynamicConfig
    AUTO_QUANTIZER_MAPPING["gptq"] = DynamicQuantizer


def use_plain_linears(model: nn.Module) -> None:
    """Make the model's linear layers of classes that compute what nn.Linear does plain ones, with the same weights."""
    for module in model.modules():
        if isinstance(module, nn.Linear) and type(module).__name__ in LIKE_LINEAR:
            module.__class__ = nn.Linear


class DynamicConfig(GPTQConfig):
    """As GPTQConfig, which drops the `dynamic` rules."""

    def __init__(self, bits: int, dynamic: dict[str, dict[str, Any]] | None = None, **settings: Any) -> None:
        super().__init__(bits, **settings)
        self.dynamic = dynamic


class DynamicQuantizer(GptqHfQuantizer):
    """As GptqHfQuantizer, by `dynamic` rules and with the subclasses of nn.Linear."""

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **options: Any) -> None:
        use_plain_linears(model)
        if getattr(self.quantization_config, "dynamic", None):
            self._convert(model, options.get("device_map"))
        else:
            super()._process_model_before_weight_loading(model, **options)
        # Some models (GPT-2) initialize the weights of their layers by name, before those in the files are read.
        for layer in _quantized_layers(model):
            if not hasattr(layer, "weight"):
                layer.weight = torch.empty(0)
            layer.weight._is_hf_initialized = True

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **options: Any) -> None:
        for layer in _quantized_layers(model):
            vars(layer).pop("weight", None)
        super()._process_model_after_weight_loading(model, **options)

    def _convert(self, model: PreTrainedModel, device_map: Any) -> None:
        """Replace the layers of the blocks that a rule does not exclude, each by its own settings."""
        from gptqmodel.quantization.config import dynamic_get
        from optimum.gptq import GPTQQuantizer
        from optimum.gptq.utils import get_block_name_with_pattern, get_layers

        config: Any = self.quantization_config
        for name in get_layers(model, prefix=config.block_name_to_quantize or get_block_name_with_pattern(model)):
            rule: Any = dynamic_get(config.dynamic, name, default={})
            if rule is False:
                continue
            settings = config.to_dict_optimum() | {key: rule[key] for key in RULES if key in rule}
            quantizer: Any = GPTQQuantizer.from_dict(settings)
            quantizer.select_quant_linear(device_map=device_map, pack=False)
            quantizer._replace_by_quant_layers(model, [name])
            self.optimum_quantizer.quant_linear = quantizer.quant_linear


def _quantized_layers(model: PreTrainedModel) -> Iterator[Any]:
    from gptqmodel.nn_modules.qlinear import BaseQuantLinear

    return (module for module in model.modules() if isinstance(module, BaseQuantLinear))
