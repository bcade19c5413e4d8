"""The base class of the errors that end a task. Imports no torch."""

from models.tasks.reports import Outcome


class TaskError(ValueError):
    """A task failed, and trying it again would fail in the same way. The message says what to change.

    `outcome` is what the task's process reports, and decides the error type of a failed job. A subclass sets the
    outcome of its errors.
    """

    outcome = Outcome.INVALID

    def __init__(self, message: str, outcome: Outcome | None = None) -> None:
        super().__init__(message)
        if outcome is not None:
            self.outcome = outcome


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the device or the machine has too little memory."""
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, MemoryError) or (isinstance(error, Exception) and should_reduce_batch_size(error))
