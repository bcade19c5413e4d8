"""The reports that a long task sends to the process that waits for it, as lines of JSON in a file. Imports no torch."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import Field, TypeAdapter


@dataclass(frozen=True)
class Step:
    """The measurements of one optimizer step, or of the evaluation after it.

    `loss` and `eval_loss` are means over tokens, in nats. `loss` is also a mean over the steps since the last report.
    `epoch` counts passes over the training rows, `percent_done` is between 0 and 100. A value that was not measured is
    None.
    """

    step: int
    epoch: float
    percent_done: float
    remaining_seconds: float
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_second: float | None = None
    eval_loss: float | None = None
    kind: Literal["step"] = field(default="step", kw_only=True)


@dataclass(frozen=True)
class Event:
    """Something that the job's owner should know. `event` is its type, `message` is text for people."""

    event: str
    message: str
    kind: Literal["event"] = field(default="event", kw_only=True)


@dataclass(frozen=True)
class PromptTemplate:
    """The prompt template that the task uses: its name, or its hash, and its Jinja text."""

    name: str
    text: str
    kind: Literal["prompt_template"] = field(default="prompt_template", kw_only=True)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in `folder`, from which a later process can resume. This process does not change it any more."""

    step: int
    folder: str
    kind: Literal["checkpoint"] = field(default="checkpoint", kw_only=True)


@dataclass(frozen=True)
class QuantizedModule:
    """One quantized linear layer: `module` is its name in the model's block number `layer`, counted from 0.

    `error` is the squared distance between the module's outputs before and after quantization, summed over the outputs
    and averaged over the `tokens` calibration tokens that reached the module. `relative_error` is `error` divided by
    the same mean of the squared outputs themselves. Both are None if no token reached the module (an unused expert of a
    mixture, for example): its weights are then rounded to the nearest level.
    """

    layer: int
    module: str
    error: float | None
    relative_error: float | None
    tokens: int
    seconds: float
    kind: Literal["quantized_module"] = field(default="quantized_module", kw_only=True)


@dataclass(frozen=True)
class QuantizedLayer:
    """The first `layer` of the model's `layers` blocks are quantized.

    `percent_done` is the progress of the whole task, `remaining_seconds` the estimate for all that is left of it.
    """

    layer: int
    layers: int
    percent_done: float
    remaining_seconds: float
    kind: Literal["quantized_layer"] = field(default="quantized_layer", kw_only=True)


@dataclass(frozen=True)
class MeasuredVariant:
    """The measurements of one variant of a model on `rows` held-out rows. A value that was not measured is None.

    `disk_bytes` is the size of the weight files, `memory_bytes` the size of the parameters and buffers. `perplexity` is
    over the tokens of the completions, `exact_match` is a share from 0 to 1, `chrf` the corpus score from 0 to 100.
    `tokens_per_second` is the throughput of generation over all rows together. `seconds` is the time to load the
    variant, plus the time to quantize it if the task did so. `error` says why the variant could not be measured.
    """

    variant: str
    percent_done: float
    remaining_seconds: float | None = None
    rows: int = 0
    disk_bytes: int | None = None
    memory_bytes: int | None = None
    perplexity: float | None = None
    exact_match: float | None = None
    chrf: float | None = None
    tokens_per_second: float | None = None
    seconds: float | None = None
    error: str | None = None
    kind: Literal["measured_variant"] = field(default="measured_variant", kw_only=True)


@dataclass(frozen=True)
class DownloadedBytes:
    """The first `done` bytes of `total` are downloaded. `percent_done` is the same in percent."""

    done: int
    total: int
    percent_done: float
    remaining_seconds: float | None = None
    kind: Literal["downloaded_bytes"] = field(default="downloaded_bytes", kw_only=True)


class Outcome(StrEnum):
    """How a task ended."""

    DONE = "done"
    """The result is complete."""
    STOPPED = "stopped"
    """The task was told to stop, and did."""
    INVALID = "invalid"
    """The request can't be carried out, and trying again would not help. The message says what to change."""
    MODEL_UNAVAILABLE = "model-unavailable"
    """The model can't be loaded."""
    HUB_UNREACHABLE = "hub-unreachable"
    """The hub did not answer. Another attempt may succeed."""
    DIVERGED = "diverged"
    """The training loss is not a number."""
    OUT_OF_MEMORY = "out-of-memory"
    """The device or the machine has too little memory. A smaller batch may fit."""


@dataclass(frozen=True)
class Ended:
    """The last report of a task. A process that ends without it has crashed."""

    outcome: Outcome
    message: str = ""
    kind: Literal["ended"] = field(default="ended", kw_only=True)


Report = (
    Step
    | Event
    | PromptTemplate
    | Checkpoint
    | QuantizedModule
    | QuantizedLayer
    | MeasuredVariant
    | DownloadedBytes
    | Ended
)

_REPORT: TypeAdapter[Report] = TypeAdapter(Annotated[Report, Field(discriminator="kind")])


class ReportWriter:
    """Appends reports to a file, one line each, in one write: a reader never mixes the lines of several writers."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self, report: Report) -> None:
        with self._file.open("ab") as file:
            file.write(_REPORT.dump_json(report) + b"\n")


class ReportReader:
    """Reads the reports that were appended to a file since the last read. The file may not exist yet."""

    def __init__(self, file: Path) -> None:
        self._path = file
        self._file: BinaryIO | None = None
        self._partial = b""

    def new(self) -> list[Report]:
        """Return the new reports, oldest first. A line that is not complete yet is kept for the next call."""
        if self._file is None:
            if not self._path.exists():
                return []
            self._file = self._path.open("rb")
        *lines, self._partial = (self._partial + self._file.read()).split(b"\n")
        return [_REPORT.validate_json(line) for line in lines]

    def close(self) -> None:
        if self._file:
            self._file.close()
