"""The task that merges an adapter into its base model. Imports no torch until it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from models.loading.refs import ModelRef
from models.tasks.reports import Report
from models.tasks.specification import Task


@dataclass(frozen=True, kw_only=True)
class MergeTask(Task):
    """`model` names the base model and the adapter."""

    function: ClassVar[str] = "models.tasks.merge:merge"
    model: ModelRef


def merge(task: MergeTask, report: Callable[[Report], None], should_stop: Callable[[], bool]) -> bool:
    """Write the merged model to the result folder. Reports nothing and can't be stopped.

    Raises ModelLoadError, and OSError if the files can't be written.
    """
    from models.loading import merging

    merging.merge(task.model, task.result_folder)
    return True
