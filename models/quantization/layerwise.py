"""GPTQ by gptqmodel, layer by layer. The seam to its `GPTQ` class (7.7), and to optimum's `GPTQQuantizer` (2.3).

optimum packs and stores the weights. Its own loop over the blocks has no callbacks, and gives every block the mask and
the rotary angles of the first. tests/models/quantization/test_layerwise.py fails when these internals change.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import GPTQConfig, PreTrainedModel

from models.loading.loader import default_device
from models.quantization.blocks import Call, record
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


def make_quantizer(options: QuantizationOptions) -> Any:
    """Return optimum's GPTQQuantizer for the options.

    Raises QuantizationError if gptqmodel has no kernel for such weights on this machine.
    """
    from optimum.gptq import GPTQQuantizer

    config = GPTQConfig(
        bits=options.bits,
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
    model: PreTrainedModel,
    layers: Layers,
    quantizer: Any,
    texts: Sequence[np.ndarray],
    before_module: Callable[[], None],
    after_module: AfterModule,
) -> None:
    """Replace the linear layers with quantized ones.

    `texts` are the calibration texts, each a sequence of tokens. The model is on the CPU; one block at a time is moved
    to the GPU, if there is one. Calls `before_module` and `after_module` around each layer, in the order of the model;
    an exception that one of them raises ends the quantization. A layer's error is the squared distance between its
    outputs before and after, averaged over the calibration tokens.

    Raises QuantizationError if blocks can't be run one after the other, or if the calibration tokens of a layer do not
    determine its weights, where gptqmodel would only round them.
    """
    blocks: Any = model.get_submodule(layers.prefix)
    packed: dict[str, tuple[Any, ...]] = {}
    quantizer.format = "gptq_v2"  # gptqmodel's own layout, in which it packs
    with torch.no_grad():
        by_text = record(model, blocks, texts)
        hidden = [calls[0].hidden for calls in by_text]
        for number, block in enumerate(blocks):
            block.to(default_device())
            calls = [calls[number].to(default_device()) for calls in by_text]
            hidden = [states.to(default_device()) for states in hidden]
            for name, layer in layers.in_block(number).items():
                gptq = _calibrated(block, layer, quantizer, calls, hidden)
                before_module()
                packed[name] = (gptq.quantizer, *_quantize(gptq, quantizer, after_module))
                gptq.free()
            hidden = [call.run(block, states) for call, states in zip(calls, hidden, strict=True)]
            block.to("cpu")
    quantizer.pack_model(model, packed)


def _calibrated(block: Any, layer: Any, quantizer: Any, calls: list[Call], hidden: list[torch.Tensor]) -> Any:
    """Return gptqmodel's GPTQ object for a layer, after the block has run on all calibration texts."""
    from gptqmodel.quantization import GPTQ

    gptq = GPTQ(layer, qcfg=quantizer.quantizeConfig)
    gptq.quantizer.configure(bits=quantizer.bits, sym=quantizer.sym, perchannel=True)
    handle = layer.register_forward_hook(lambda _, given, output: gptq.add_batch(given[0].data, output.data))
    try:
        for call, states in zip(calls, hidden, strict=True):
            call.run(block, states)
    finally:
        handle.remove()
    return gptq


def _quantize(gptq: Any, quantizer: Any, after_module: AfterModule) -> tuple[Any, Any, Any]:
    """Quantize a layer's weights in place, and return their scales, zero points, and groups."""
    # Cloned, since gptqmodel changes it in place.
    hessian = gptq.finalize_hessian(target_device=gptq.module.target_device).clone()
    before = gptq.clone_module(device=hessian.device)
    scale, zero, groups, _, loss, _ = gptq.fasterquant(
        percdamp=quantizer.damp_percent, group_size=quantizer.group_size, actorder=quantizer.desc_act
    )
    # The loss is text in place of a number if the weights were only rounded.
    if gptq.qcfg.mock_quantization or (gptq.nsamples and not isinstance(loss, float)):
        raise QuantizationError(
            "damp_percent: the calibration tokens of a layer do not determine its weights, so GPTQ can't do "
            "better than rounding: raise damp_percent, or use more or other calibration rows"
        )
    after = gptq.clone_module(device=hessian.device)
    error, output = _mean_square(after - before, hessian), _mean_square(before, hessian)
    after_module(gptq.module, gptq.nsamples, error, output)
    return scale, zero, groups


def save(model: PreTrainedModel, layers: Layers, quantizer: Any, dtype: torch.dtype, folder: Path) -> None:
    """Write a model with quantized layers as safetensors, with the other weights in `dtype`.

    The model can't be used afterwards.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    # gptqmodel's own layout, gptq_v2, differs in the zero points alone. It writes weights without zero points in the
    # layout of AutoGPTQ, which other engines also read.
    if layers.left:
        quantizer.modules_in_block_to_quantize = [layers.names]
    fields = quantizer.to_dict() | {"format": "gptq" if quantizer.sym else "gptq_v2"}
    fields["block_name_to_quantize"] = layers.prefix
    model.config.quantization_config = GPTQConfig.from_dict(fields)
    quantizer.save(model, str(folder))


def _mean_square(weight: torch.Tensor, hessian: torch.Tensor) -> float:
    """Return the mean over the calibration tokens of the squared length of the outputs of `weight`, [out, in].

    The Hessian of Frantar et al. (2022) is twice the mean of the outer products of the inputs.
    """
    return float(((weight @ hessian) * weight).sum()) / 2
