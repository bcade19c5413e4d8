"""What a run of the experiment found: all that the table and the report show, and what results.json holds."""

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from pydantic import BaseModel

from pagewright.cli.evaluate import Score
from pagewright.cli.experiment.plan import ORIGINAL_ROWS, System

PACKAGES = ("torch", "transformers", "peft", "gptqmodel")


class Dataset(BaseModel):
    """What is used here of what the server says of a dataset."""

    id: str
    name: str
    source: str
    location: str
    revision: str | None
    test_fraction: float
    seed: int
    train_rows: int
    test_rows: int
    overlapping_rows: int

    @property
    def original(self) -> bool:
        """Whether it has as many rows in each split as the original experiment's."""
        return (self.train_rows, self.test_rows) == ORIGINAL_ROWS


class Model(BaseModel):
    """What is used here of what the server says of a model."""

    name: str
    source: str
    location: str
    revision: str | None
    quantization: dict[str, Any] | None


class Event(BaseModel):
    type: str
    message: str


class Point(BaseModel):
    """What one step of a fine-tune measured."""

    step: int
    loss: float | None
    eval_loss: float | None


class Made(BaseModel):
    """A model that a job made, with the job's parameters. `reused`: by an earlier run."""

    name: str
    job_id: str
    base: str
    parameters: dict[str, Any]
    seconds: float | None
    reused: bool
    events: list[Event]


class FineTuned(Made):
    system: System
    curve: list[Point]


class Evaluated(BaseModel):
    """One system over the first test rows, or all of them."""

    system: System
    model: str
    evaluation_id: str
    limit: int | None
    rows: int
    attempts: int
    seconds: float
    scores: dict[str, Score]


class Prediction(BaseModel):
    """One row: what was asked, the prediction, the ground truth and the scores."""

    row: int
    prompt: str
    input: str
    completion: str
    reference: str
    finish_reason: str
    error: str | None
    exact_match: float | None
    normalized_exact_match: float | None
    chrf: float | None
    validity: float | None
    parse_errors: int | None
    structural_similarity: float | None


class Aim(BaseModel):
    text: str
    measured: str
    outcome: Literal["met", "missed", "not measured"]


class Results(BaseModel):
    """The whole of a run."""

    command: str
    versions: dict[str, str]
    model: Model
    dataset: Dataset
    training: Dataset
    """What the fine-tunes and the quantization are made with: the dataset itself, or its training rows cleaned."""
    quantization: Made | None
    fine_tunes: list[FineTuned]
    evaluations: list[Evaluated]
    aims: list[Aim]
    notes: list[str]


def find(evaluations: Sequence[Evaluated], system: System, rows: int) -> Evaluated | None:
    """The evaluation of a system over so many rows, if there is one."""
    return next((one for one in evaluations if (one.system, one.rows) == (system, rows)), None)


def versions() -> dict[str, str]:
    """Of Python and the packages that matter, as they are installed here, without importing them."""
    ours = {"pagewright": _version("pagewright"), "python": platform.python_version()}
    return ours | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
