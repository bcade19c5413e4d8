"""The task that merges an adapter into its base model. Imports no torch until it runs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from models.loading.refs import ModelRef
from models.prompts.templates import PromptOptions
from models.tasks.output import adopt_libraries
from models.tasks.reports import Report
from models.tasks.specification import Task


@dataclass(frozen=True, kw_only=True)
class MergeTask(Task):
    """`model` names the base model and the adapter, and `prompt` how the adapter was trained."""

    function: ClassVar[str] = "models.tasks.merge:merge"
    model: ModelRef
    prompt: PromptOptions = field(default_factory=PromptOptions)


def merge(task: MergeTask, report: Callable[[Report], None], should_stop: Callable[[], bool]) -> bool:
    """Write the merged model to the result folder. Reports nothing and can't be stopped.

    Raises ModelLoadError, PromptError, and OSError if the files can't be written.
    """
    from models.loading import merging

    adopt_libraries()
    merging.merge(task.model, task.result_folder, task.prompt)
    return True
