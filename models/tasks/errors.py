"""The base class of the errors that end a task. Imports no torch."""

from typing import ClassVar

from models.tasks.reports import Outcome


class TaskError(ValueError):
    """A task failed, and trying it again would fail in the same way. The message says what to change.

    `outcome` is what the task's process reports. A subclass may set another one.
    """

    outcome: ClassVar[Outcome] = Outcome.INVALID
