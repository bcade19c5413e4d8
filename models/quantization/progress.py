"""Reports the progress of a quantization: each quantized module, and each block whose modules are all quantized."""

import time
from collections.abc import Callable

from torch import nn

from models.quantization.errors import Stopped
from models.quantization.layers import Layers
from models.tasks.reports import QuantizedLayer, QuantizedModule, Report


class Progress:
    """The callbacks of `quantize_layers`.

    The quantization of the layers is `share` (0 to 1) of the whole task.
    """

    def __init__(
        self, layers: Layers, report: Callable[[Report], None], should_stop: Callable[[], bool], share: float
    ) -> None:
        self._names = {module: name for name, module in layers.modules.items()}
        self._remaining = [len(layers.in_block(number)) for number in range(layers.blocks)]
        self._layers = layers
        self._report = report
        self._should_stop = should_stop
        self._share = share
        self._start = self._clock = time.monotonic()

    def before_module(self) -> None:
        """Raise Stopped if the task was told to stop."""
        if self._should_stop():
            raise Stopped

    def after_module(self, module: nn.Module, tokens: int, error: float, output: float) -> None:
        """Report a quantized module, and its block if it was the last module of it."""
        now = time.monotonic()
        layer, name = self._layers.split(self._names[module])
        seconds = now - self._clock
        self._clock = now
        if tokens:
            relative_error = error / output if output else 0.0
            self._report(QuantizedModule(layer, name, error, relative_error, tokens, seconds))
        else:
            self._report(QuantizedModule(layer, name, None, None, 0, seconds))
        self._remaining[layer] -= 1
        if not self._remaining[layer]:
            self._report_layer(layer + 1, now)

    def _report_layer(self, done: int, now: float) -> None:
        total = self._layers.blocks
        remaining_seconds = (now - self._start) / done * (total - done)
        self._report(QuantizedLayer(done, total, 100 * self._share * done / total, remaining_seconds))
