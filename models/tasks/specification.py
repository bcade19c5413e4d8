"""The specification of a task: a JSON file that a worker writes and the task's process reads. Imports no torch."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

from pydantic import TypeAdapter

from models.tasks.reports import Report

RESULT = "result"
"""The folder in the work folder that holds the result, once the task is done."""

Run = Callable[[Callable[[Report], None], Callable[[], bool]], bool]
"""A task's function with its task bound: takes `report` and `should_stop`. Returns False if the task was stopped."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """The arguments of a task. A subclass adds its own, and names the function that does the task.

    `function` is `module:name`, where the module is in the package `models`. The function is called with the task, a
    `report` function and a `should_stop` function, and annotates its parameter `task` with the subclass.
    """

    function: ClassVar[str]
    work_folder: Path
    """Holds the task's files. The result goes to the folder `result` in it."""

    @property
    def result_folder(self) -> Path:
        return self.work_folder / RESULT


def write_specification(task: Task) -> Path:
    """Write a task to a JSON file in its work folder, and return the file."""
    file = task.work_folder / "specification.json"
    arguments = TypeAdapter(type(task)).dump_python(task, mode="json")
    file.write_text(json.dumps({"function": task.function, "task": arguments}))
    return file


def read_specification(file: Path) -> Run:
    """Read the file that `write_specification` wrote, and return the task's function, ready to be called.

    Raises ValueError for a function outside the package `models`, and pydantic's ValidationError for arguments that do
    not fit the task.
    """
    content = json.loads(file.read_text())
    name: str = content["function"]
    module, _, attribute = name.partition(":")
    if not module.startswith("models."):
        raise ValueError(f"function: {name} is not in the package models")
    function: Callable[..., bool] = getattr(import_module(module), attribute)
    task: Any = TypeAdapter(get_type_hints(function)["task"]).validate_python(content["task"])
    return lambda report, should_stop: function(task, report, should_stop)
