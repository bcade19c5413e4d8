"""Reports the progress of a quantization: each quantized module, and each block whose modules are all quantized."""

import time
from collections.abc import Callable

from torch import nn

from models.quantization.errors import Stopped
from models.quantization.layers import Layers
from models.tasks.reports import QuantizedLayer, QuantizedModule, Report


def remaining_seconds(start: float, percent_done: float) -> float:
    """Return the estimated seconds to the end of a task that began at `start`, by `time.monotonic`.

    `percent_done` is above 0. The result is 0 at 100 percent alone.
    """
    return (time.monotonic() - start) * (100 - percent_done) / percent_done


class Progress:
    """The callbacks of `quantize_layers`.

    The task began at `start`, by `time.monotonic`. The quantization of the layers is `share` (0 to 1) of it.
    """

    def __init__(
        self,
        layers: Layers,
        report: Callable[[Report], None],
        should_stop: Callable[[], bool],
        share: float,
        start: float,
    ) -> None:
        self._names = {module: name for name, module in layers.modules.items()}
        self._remaining = [len(layers.in_block(number)) for number in range(layers.blocks)]
        self._layers = layers
        self._report = report
        self._should_stop = should_stop
        self._share = share
        self._start = start
        self._clock = time.monotonic()

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
            self._report_layer(layer + 1)

    def _report_layer(self, done: int) -> None:
        percent_done = 100 * self._share * done / self._layers.blocks
        seconds = remaining_seconds(self._start, percent_done)
        self._report(QuantizedLayer(done, self._layers.blocks, percent_done, seconds))
