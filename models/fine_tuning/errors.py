"""The errors that end a fine-tune."""

from models.tasks.errors import TaskError
from models.tasks.reports import Outcome


class FineTuneError(TaskError):
    """The request can't be trained."""


class Diverged(FineTuneError):
    """The training loss is not a number."""

    outcome = Outcome.DIVERGED
