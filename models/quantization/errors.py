"""The errors that end a quantization."""

from models.tasks.errors import TaskError


class QuantizationError(TaskError):
    """The request can't be quantized."""


class Stopped(Exception):
    """The task was told to stop."""
