"""Weights that bitsandbytes quantizes while they are loaded. The seam to bitsandbytes' internals (0.50).

bitsandbytes is imported only when a model is loaded that way. Its layers change themselves at their first step, which
engines that share them must not see, so `settle` does it before: it uses `Linear8bitLt.init_8bit_state` and
`Linear4bit.support_avx512bf16_for_cpu`. `test_bits_and_bytes.py` fails when these change.
"""

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
"""Bits in memory per quantized weight. The scales of NF4's blocks take up to a quarter of a bit; LLM.int8() has one
scale per row, which is not counted."""

STATE_TENSORS = ("CB", "SCB", "absmax", "code", "offset")


def check(bits: int, device: str) -> None:
    """Run a small layer on `device`. Raises ModelLoadError if bitsandbytes is missing or can't compute there."""
    if find_spec("bitsandbytes") is None:
        raise ModelLoadError("bitsandbytes is not installed on this worker: install it, or leave out `load`")
    # It logs at every layer of every step that inputs are rounded to float16.
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


def config(bits: int, compute_dtype: torch.dtype) -> BitsAndBytesConfig:
    """Return transformers' configuration: LLM.int8() for 8 bits, NF4 that computes in `compute_dtype` for 4."""
    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        # As in QLoRA (https://arxiv.org/abs/2305.14314): it saves a tenth of the memory at no measurable loss.
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def settle(model: PreTrainedModel, *, for_training: bool) -> None:
    """Bring a newly loaded model into the state after its first step, so that later steps only read its weights.

    With `for_training` the weights keep a form that has a gradient.
    """
    nn = _layers()
    for module in model.modules():
        if isinstance(module, nn.Linear8bitLt) and module.weight.CB is not None:
            # The first step moves the scales from the weights to the module that runs it, and from no other module.
            module.init_8bit_state()
        elif isinstance(module, nn.Linear4bit) and model.device.type == "cpu":
            _settle_for_cpu(module, for_training)


def _settle_for_cpu(module: Any, for_training: bool) -> None:
    """Pack the weights for the fast kernel of CPUs with AVX512-BF16, as the first step without a gradient does.

    That kernel has no gradient, and supports only layers of certain shapes; other layers keep the general kernel.
    """
    packs = module.out_features % 32 == 0 and module.in_features % module.weight.quant_state.blocksize == 0
    module.support_avx512bf16_for_cpu = module.support_avx512bf16_for_cpu and packs and not for_training
    if module.support_avx512bf16_for_cpu:
        with torch.inference_mode():
            module(torch.zeros(1, module.in_features))


def states(model: PreTrainedModel) -> Iterator[Any]:
    """Yield the object of each quantized layer that contains the scales of its weights."""
    if "bitsandbytes" not in sys.modules:
        return
    nn = _layers()
    for module in model.modules():
        if isinstance(module, nn.Linear8bitLt):
            yield module.state
        elif isinstance(module, nn.Linear4bit):
            yield module.weight.quant_state


def tensors(state: Any) -> list[torch.Tensor]:
    """Return the tensors in one of `states` that belong to the weights, without those that its last step left there."""
    nested = getattr(state, "state2", None)  # the scales of the scales
    values = [getattr(part, name, None) for part in (state, nested) for name in STATE_TENSORS]
    return [value for value in values if value is not None]


def loaded_bytes(config: PreTrainedConfig, bits: int, float_bytes: int) -> int:
    """Estimate a model's memory. Weights that are not quantized have `float_bytes` each."""
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    head = model.get_output_embeddings()
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module is not head]
    quantized = sum(module.weight.numel() for module in linear)
    rest = sum(parameter.numel() for parameter in model.parameters()) - quantized
    return int(quantized * BITS_PER_WEIGHT[bits] / 8) + rest * float_bytes


def _layers() -> Any:
    return import_module("bitsandbytes.nn")
