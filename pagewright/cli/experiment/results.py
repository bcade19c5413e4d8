"""The results of a run: the data behind the table and the report, and the content of results.json."""

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from pydantic import BaseModel

from pagewright.cli.evaluate import Score
from pagewright.cli.experiment.plan import ORIGINAL_ROWS, System

PACKAGES = ("torch", "transformers", "peft", "gptqmodel")


class Dataset(BaseModel):
    """The used fields of the API's dataset."""

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
        """Whether each split has as many rows as in the original experiment."""
        return (self.train_rows, self.test_rows) == ORIGINAL_ROWS


class Model(BaseModel):
    """The used fields of the API's model."""

    name: str
    source: str
    location: str
    revision: str | None
    quantization: dict[str, Any] | None


class Event(BaseModel):
    type: str
    message: str


class Point(BaseModel):
    """One point of a loss curve."""

    step: int
    loss: float | None
    eval_loss: float | None


class ResultModel(BaseModel):
    """The result model of a fine-tune or quantization, and its parameters. `reused`: an earlier run created it."""

    name: str
    job_id: str
    base: str
    parameters: dict[str, Any]
    seconds: float | None
    reused: bool
    events: list[Event]


class FineTuned(ResultModel):
    system: System
    curve: list[Point]


class Evaluated(BaseModel):
    """The evaluation of one system on the first `limit` test rows, or on all of them if `limit` is None.

    `template` is the name or the hash of the prompt template, and `extract` the part of a completion that is the page;
    both are None for a baseline.
    """

    system: System
    model: str
    evaluation_id: str
    limit: int | None
    rows: int
    attempts: int
    seconds: float
    template: str | None
    extract: str | None
    scores: dict[str, Score]


class Prediction(BaseModel):
    """One row: the request, the completion, the page in it, the reference and the page's scores."""

    row: int
    prompt: str
    input: str
    completion: str
    page: str
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
    """All results of a run."""

    command: str
    versions: dict[str, str]
    model: Model
    dataset: Dataset
    training: Dataset
    """The dataset of the fine-tunes and the quantization: `dataset` itself, or its cleaned training rows."""
    quantization: ResultModel | None
    fine_tunes: list[FineTuned]
    evaluations: list[Evaluated]
    aims: list[Aim]
    notes: list[str]


def find(evaluations: Sequence[Evaluated], system: System, rows: int) -> Evaluated | None:
    """Return the evaluation of a system on this number of rows, or None."""
    return next((item for item in evaluations if (item.system, item.rows) == (system, rows)), None)


def versions() -> dict[str, str]:
    """Return the installed versions of Python and of the relevant packages, without importing them."""
    base = {"pagewright": _version("pagewright"), "python": platform.python_version()}
    return base | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
