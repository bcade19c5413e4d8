"""Layer by layer through a model: optimum's loop over its blocks, with a word to whoever waits after each module."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import GPTQConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from models.quantization.layers import Layers
from models.quantization.options import QuantizationError, QuantizationOptions, Stopped
from models.tasks.reports import LayerError, Quantized, Report


def make_quantizer(options: QuantizationOptions, texts: Sequence[np.ndarray]) -> Any:
    """optimum's GPTQQuantizer for these options and calibration texts, each a sequence of tokens.

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
        # gptqmodel refuses to order columns within a group where there are no groups
        act_group_aware=not options.desc_act and options.group_size != -1,
        sym=options.sym,
        backend="auto_trainable",  # the kernels that weights are packed for here; it is not stored
    )
    quantizer = GPTQQuantizer.from_dict(config.to_dict_optimum())
    try:
        quantizer.select_quant_linear(device_map={"": "cpu"}, pack=True)
    except (ValueError, NotImplementedError, ImportError) as error:
        raise QuantizationError(
            f"bits and group_size: gptqmodel has no kernel on this worker for {options.bits} bits in groups of "
            f"{options.group_size}: {error}"
        ) from error
    return quantizer


def quantize_layers(
    model: PreTrainedModel,
    layers: Layers,
    quantizer: Any,
    report: Callable[[Report], None],
    should_stop: Callable[[], bool],
    share: float,
) -> None:
    """Put quantized layers into the model in the place of its own, and report what each came to.

    The layers count as `share` (0 to 1) of the task. Raises Stopped before a module if `should_stop` says so, and
    QuantizationError where the calibration leaves gptqmodel nothing but rounding.
    """
    watch = _Watch(layers, report, should_stop, share)
    with _watched(watch):
        quantizer.quantize_model(model)


def save(model: PreTrainedModel, quantizer: Any, dtype: torch.dtype, folder: Path) -> None:
    """Write a model with quantized layers as safetensors, what is not quantized in `dtype`.

    The model itself can't be used after that.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    quantizer.dataset = None  # or every calibration text would be in the configuration
    # gptqmodel's own layout differs in the zero points alone; it has weights without them written in AutoGPTQ's, which
    # other engines read too.
    fields = quantizer.to_dict() | {"format": "gptq" if quantizer.sym else "gptq_v2"}
    model.config.quantization_config = GPTQConfig.from_dict(fields)
    quantizer.save(model, str(folder))


class _Watch:
    """What is told of the modules as they are done, in the order that optimum takes them."""

    def __init__(
        self, layers: Layers, report: Callable[[Report], None], should_stop: Callable[[], bool], share: float
    ) -> None:
        self._names = {module: name for name, module in layers.modules.items()}
        self._left = [layers.in_block(number) for number in range(layers.blocks)]
        self._layers = layers
        self._report = report
        self._should_stop = should_stop
        self._share = share
        self._start = self._clock = time.monotonic()

    def before(self) -> None:
        if self._should_stop():
            raise Stopped

    def after(self, module: nn.Module, tokens: int, error: float, output: float) -> None:
        moment = time.monotonic()
        layer, name = self._layers.split(self._names[module])
        seconds = moment - self._clock
        relative = error / output if output else 0.0
        self._report(
            LayerError(layer, name, error, relative, tokens, seconds)
            if tokens
            else LayerError(layer, name, None, None, 0, seconds)
        )
        self._clock = moment
        self._left[layer] -= 1
        if self._left[layer]:
            return
        done, total = layer + 1, self._layers.blocks
        remaining = (moment - self._start) / done * (total - done)
        self._report(Quantized(done, total, 100 * self._share * done / total, remaining))


@contextmanager
def _watched(watch: _Watch) -> Iterator[None]:
    """While this lasts, what optimum quantizes a module with tells `watch`. optimum's loop has no callbacks."""
    from optimum.gptq import quantizer as loop

    class Watched(loop.GPTQ):
        def quantize(self, blocksize: int = 128) -> Any:
            watch.before()
            self.finalize_hessian(target_device=self.module.target_device)
            hessian, before = self.H.clone(), self.clone_module(device=self.H.device)
            result = super().quantize(blocksize)
            weight, loss, tokens = result[0], result[5], result[7]
            if self.qcfg.mock_quantization or (tokens and not isinstance(loss, float)):
                raise QuantizationError(
                    "damp_percent: the inputs that the calibration gives a layer leave nothing to solve for, so it "
                    "would only be rounded: raise damp_percent, or take more or other calibration rows"
                )
            after = (weight.T if isinstance(self.module, Conv1D) else weight).to(before)
            error, output = _mean_square(after - before, hessian), _mean_square(before, hessian)
            watch.after(self.module, tokens, error, output)
            return result

    original = loop.GPTQ
    loop.GPTQ = Watched
    try:
        yield
    finally:
        loop.GPTQ = original


def _mean_square(weight: torch.Tensor, hessian: torch.Tensor) -> float:
    """The squared length of what the weights, [out, in], make of the calibration's inputs, averaged over these.

    The Hessian of Frantar et al. is twice the mean of the inputs' outer products.
    """
    return float(((weight @ hessian) * weight).sum()) / 2
