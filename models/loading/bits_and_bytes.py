"""Weights that bitsandbytes quantizes as they are loaded. It is imported only once that is asked for."""

import logging
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

from models.loading.refs import ModelLoadError

BITS_PER_WEIGHT = {8: 8.0, 4: 4.25}
"""In memory, the scales of blocks of weights included: of 16 bits where a CPU's kernel has them, else less. Those of 8
bits are one for each row."""


def check(bits: int, device: str) -> None:
    """Raises ModelLoadError where bitsandbytes is missing or can't compute, with what to change."""
    if find_spec("bitsandbytes") is None:
        raise ModelLoadError("bitsandbytes is not installed on this worker: install it, or leave out `load`")
    # it would say at every layer of every step that inputs are rounded to float16
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    try:
        nn = _layers()
        layer = nn.Linear8bitLt if bits == 8 else nn.Linear4bit
        options = {"has_fp16_weights": False} if bits == 8 else {"quant_type": "nf4"}
        with torch.no_grad():
            layer(64, 64, bias=False, **options).to(device).eval()(torch.ones(1, 64, device=device))
    except torch.OutOfMemoryError:
        raise
    except (ImportError, OSError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelLoadError(
            f"bitsandbytes can't compute in {bits} bits on this worker's {device}: {reason}; "
            "install a version with kernels for it, or leave out `load`"
        ) from error


def config(bits: int, compute: torch.dtype) -> BitsAndBytesConfig:
    """What transformers is to quantize to: LLM.int8(), or NF4 whose layers compute in the dtype `compute`."""
    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        # as QLoRA has it: a tenth of the memory less, and no measurable loss
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def settle(model: PreTrainedModel, *, for_training: bool) -> None:
    """Bring a model that was just loaded into the state that its first step would, so that steps only read it."""
    nn = _layers()
    for module in model.modules():
        if isinstance(module, nn.Linear8bitLt) and module.weight.CB is not None:
            # Left to the first step, the scales would go to the module that takes it, and no other over these weights.
            module.init_8bit_state()
        elif isinstance(module, nn.Linear4bit) and model.device.type == "cpu":
            _settle_for_cpu(module, for_training)


def _settle_for_cpu(module: Any, for_training: bool) -> None:
    """On CPUs with bfloat16, steps without a gradient begin with packing the weights, in place, for a fast kernel.

    It has no gradient, and takes layers of some shapes alone.
    """
    packs = module.out_features % 32 == 0 and module.in_features % module.weight.quant_state.blocksize == 0
    module.support_avx512bf16_for_cpu = module.support_avx512bf16_for_cpu and packs and not for_training
    if module.support_avx512bf16_for_cpu:
        with torch.inference_mode():
            module(torch.zeros(1, module.in_features))


def states(model: PreTrainedModel) -> Iterator[Any]:
    """What each layer keeps beside its weights, if bitsandbytes has quantized them: objects that hold the scales."""
    if "bitsandbytes" not in sys.modules:
        return
    nn = _layers()
    for module in model.modules():
        if isinstance(module, nn.Linear8bitLt):
            yield module.state
        elif isinstance(module, nn.Linear4bit):
            yield module.weight.quant_state


def tensors(state: Any) -> list[torch.Tensor]:
    """The tensors in one of the `states` that belong to the weights; it has others that belong to its last step."""
    nested = getattr(state, "state2", None)  # the scales of the scales
    values = [
        getattr(part, name, None) for part in (state, nested) for name in ("CB", "SCB", "absmax", "code", "offset")
    ]
    return [value for value in values if value is not None]


def loaded_bytes(config: PreTrainedConfig, bits: int, float_bytes: int) -> int:
    """About what a model of this configuration takes in memory, where what is not quantized has floats of that size."""
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    head = model.get_output_embeddings()
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module is not head]
    quantized = sum(module.weight.numel() for module in linear)
    rest = sum(parameter.numel() for parameter in model.parameters()) - quantized
    return int(quantized * BITS_PER_WEIGHT[bits] / 8) + rest * float_bytes


def _layers() -> Any:
    return import_module("bitsandbytes.nn")
