"""GPTQ by optimum and gptqmodel, layer by layer. The only module that imports these two.

Written for optimum 2.3 and gptqmodel 7.7. optimum's loop over the layers has no callbacks: for each linear layer it
creates an object of the class that it knows as `optimum.gptq.quantizer.GPTQ`, and calls the method `fasterquant` of it.
While `quantize_layers` runs, that name refers to a subclass that calls back before and after each layer.
tests/models/quantization/test_layerwise.py fails when these internals change.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import GPTQConfig, PreTrainedModel

from models.quantization.errors import QuantizationError
from models.quantization.layers import Layers
from models.quantization.options import QuantizationOptions

PACKAGES = ("optimum", "gptqmodel")

AfterModule = Callable[[nn.Module, int, float, float], None]
"""Called with a layer, the number of its calibration tokens, its error, and the mean square of its outputs."""


def check_installed() -> None:
    """Raise QuantizationError if one of the packages that GPTQ needs is not installed."""
    for package in PACKAGES:
        if find_spec(package) is None:
            raise QuantizationError(f"{package} is not installed on this worker: install pagewright[worker] there")


def find_layers(model: PreTrainedModel) -> Layers:
    """Return the linear layers that GPTQ quantizes.

    Raises QuantizationError if optimum or gptqmodel is not installed or does not support the model.
    """
    check_installed()
    from gptqmodel.models.auto import SUPPORTED_MODELS
    from optimum.gptq.utils import get_block_name_with_pattern, get_layers

    architecture = model.config.get_text_config().model_type
    if architecture not in SUPPORTED_MODELS:
        raise QuantizationError(
            f"model: gptqmodel does not support the architecture {architecture}; load the model with bitsandbytes "
            "instead, which supports every architecture"
        )
    try:
        prefix = get_block_name_with_pattern(model)
    except ValueError as error:
        raise QuantizationError(f"model: optimum finds no blocks in {architecture}: {error}") from error
    modules: dict[str, nn.Module] = get_layers(model, prefix=f"{prefix}.")
    if not modules:
        raise QuantizationError(f"model: the blocks of {architecture}, {prefix}, contain no linear layers")
    return Layers(prefix, len(list(model.get_submodule(prefix).children())), modules)


def make_quantizer(options: QuantizationOptions, texts: Sequence[np.ndarray]) -> Any:
    """Return optimum's GPTQQuantizer for the options and the calibration texts, each a sequence of tokens.

    Raises QuantizationError if gptqmodel has no kernel for such weights on this machine.
    """
    from optimum.gptq import GPTQQuantizer

    tokenized: Any = [{"input_ids": [text.tolist()], "attention_mask": [[1] * len(text)]} for text in texts]
    config = GPTQConfig(
        bits=options.bits,
        dataset=tokenized,
        group_size=options.group_size,
        damp_percent=options.damp_percent,
        desc_act=options.desc_act,
        # gptqmodel refuses to order the columns within a group if there are no groups.
        act_group_aware=not options.desc_act and options.group_size != -1,
        sym=options.sym,
        backend="auto_trainable",  # the kernels that the weights are packed with; not stored with the model
    )
    quantizer = GPTQQuantizer.from_dict(config.to_dict_optimum())
    try:
        quantizer.select_quant_linear(device_map={"": "cpu"}, pack=True)
    except (ValueError, NotImplementedError, ImportError) as error:
        raise QuantizationError(
            f"bits and group_size: gptqmodel has no kernel on this worker for {options.bits} bits and a group size of "
            f"{options.group_size}: {error}"
        ) from error
    return quantizer


def quantize_layers(
    model: PreTrainedModel, quantizer: Any, before_module: Callable[[], None], after_module: AfterModule
) -> None:
    """Replace the model's linear layers with quantized ones.

    Calls `before_module` and `after_module` around each layer, in the order of the model; an exception that one of them
    raises ends the quantization. A layer's error is the squared distance between its outputs before and after,
    averaged over the calibration tokens. Raises QuantizationError if the calibration tokens of a layer do not determine
    its weights, where gptqmodel would only round them.
    """
    from optimum.gptq import quantizer as loop

    class ObservedGPTQ(loop.GPTQ):
        def fasterquant(self, **options: Any) -> Any:
            before_module()
            # Cloned, since the superclass changes it in place.
            hessian = self.finalize_hessian(target_device=self.module.target_device).clone()
            before = self.clone_module(device=hessian.device)
            result = super().fasterquant(**options)
            loss = result[4]  # text in place of a number if the weights were only rounded
            if self.qcfg.mock_quantization or (self.nsamples and not isinstance(loss, float)):
                raise QuantizationError(
                    "damp_percent: the calibration tokens of a layer do not determine its weights, so GPTQ can't do "
                    "better than rounding: raise damp_percent, or use more or other calibration rows"
                )
            after = self.clone_module(device=hessian.device)
            error, output = _mean_square(after - before, hessian), _mean_square(before, hessian)
            after_module(self.module, self.nsamples, error, output)
            return result

    original = loop.GPTQ
    loop.GPTQ = ObservedGPTQ
    try:
        quantizer.quantize_model(model)
    finally:
        loop.GPTQ = original


def save(model: PreTrainedModel, quantizer: Any, dtype: torch.dtype, folder: Path) -> None:
    """Write a model with quantized layers as safetensors, with the other weights in `dtype`.

    The model can't be used afterwards.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    quantizer.dataset = None  # otherwise the configuration would contain all calibration texts
    # gptqmodel's own layout, gptq_v2, differs in the zero points alone. It writes weights without zero points in the
    # layout of AutoGPTQ, which other engines also read.
    fields = quantizer.to_dict() | {"format": "gptq" if quantizer.sym else "gptq_v2"}
    model.config.quantization_config = GPTQConfig.from_dict(fields)
    quantizer.save(model, str(folder))


def _mean_square(weight: torch.Tensor, hessian: torch.Tensor) -> float:
    """Return the mean over the calibration tokens of the squared length of the outputs of `weight`, [out, in].

    The Hessian of Frantar et al. (2022) is twice the mean of the outer products of the inputs.
    """
    return float(((weight @ hessian) * weight).sum()) / 2
