"""The first run of a model, where its code may turn out not to work with its configuration or its weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from models.loading.refs import ModelLoadError
from models.tasks.errors import TaskError, is_out_of_memory

_LASTING = (
    AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError, ImportError, AssertionError,
    ZeroDivisionError,
)  # fmt: skip
"""What transformers raises for missing configuration fields, shapes that don't fit, and what it does not support."""

_MAX_REASON = 300


@contextmanager
def lasting_errors(subject: str) -> Iterator[None]:
    """Raise ModelLoadError for an error that a second try would meet again, so that a job takes one attempt.

    Use it around the first run of a model, and around nothing else: later errors may have other causes. `subject` says
    what is run, as the subject of "fails". Errors of full memory and of the GPU itself are raised as they are.
    """
    try:
        yield
    except TaskError:
        raise
    except _LASTING as error:
        if is_out_of_memory(error) or isinstance(error, torch.AcceleratorError):
            raise
        raise ModelLoadError(
            f"{subject} fails: {reason(error)}; the model's files don't fit this architecture, or the installed "
            "transformers does not support it: use another model"
        ) from error


def reason(error: Exception) -> str:
    """Return an error of a library in one short line, with its type."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:_MAX_REASON]}" if lines else type(error).__name__
