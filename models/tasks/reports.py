"""What a long task tells whoever waits for it; from a process of its own, as lines of JSON in a file. No torch here."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TextIO, get_args


@dataclass(frozen=True)
class Measured:
    """What one optimizer step, or the evaluation after it, measured. Losses are means over tokens, in nats."""

    step: int
    epoch: float
    percent_done: float
    remaining_seconds: float
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_second: float | None = None
    eval_loss: float | None = None


@dataclass(frozen=True)
class Happened:
    """Something worth telling the person who waits: `event` names it, `message` is for reading."""

    event: str
    message: str


@dataclass(frozen=True)
class Checkpointed:
    """A folder that a later process can go on from; the process does not touch it again."""

    step: int
    folder: str


@dataclass(frozen=True)
class LayerError:
    """How far one module's output moved when it was quantized: `module` of the model's `layer`, counted from 0.

    `error` is the squared distance between the outputs before and after, summed over the module's outputs and averaged
    over the `tokens` of the calibration that reached it; `relative_error` is that over the same of the output itself.
    Both are None where no token came, to a mixture's expert that none was sent to, say: it is rounded to nearest.
    """

    layer: int
    module: str
    error: float | None
    relative_error: float | None
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Quantized:
    """So many of the model's `layers` are quantized. `percent_done` is of the whole task, the time of the layers."""

    layer: int
    layers: int
    percent_done: float
    remaining_seconds: float


@dataclass(frozen=True)
class VariantMeasured:
    """What one variant of a model came to on `rows` held-out rows; None for what was not measured.

    `disk_bytes` are those of the weight files that it is loaded from, `memory_bytes` those of its parameters and
    buffers. `perplexity` is over the completions' tokens, `exact_match` a share from 0 to 1, `chrf` the corpus score
    from 0 to 100, `tokens_per_second` generated over all rows together. `seconds` is what it took until the variant
    could be used: to load it, and to quantize it where the task did. `error` says why it could not be measured.
    """

    variant: str
    disk_bytes: int | None
    memory_bytes: int | None
    perplexity: float | None
    exact_match: float | None
    chrf: float | None
    rows: int
    tokens_per_second: float | None
    seconds: float | None
    percent_done: float
    error: str | None = None


class Outcome(StrEnum):
    DONE = "done"
    """What was to be made is in the work folder, whole."""
    STOPPED = "stopped"
    """As asked, after a checkpoint."""
    INVALID = "invalid"
    """What was asked for can't be done, however often it is tried; the message says what to change."""
    MODEL_UNAVAILABLE = "model-unavailable"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out-of-memory"
    """A smaller batch may do."""


@dataclass(frozen=True)
class Ended:
    """The last report. A process that ends without one has crashed."""

    outcome: Outcome
    message: str = ""


Report = Measured | Happened | Checkpointed | LayerError | Quantized | VariantMeasured | Ended

_KINDS = {kind.__name__: kind for kind in get_args(Report)}


class ReportWriter:
    """Appends each report as one line, so that a reader and several writers never see half of one."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self, report: Report) -> None:
        line = json.dumps({"kind": type(report).__name__, **asdict(report)})
        with self._file.open("a") as file:
            file.write(line + "\n")


class ReportReader:
    """Reads the reports that have come since it last did. The file need not be there yet."""

    def __init__(self, file: Path) -> None:
        self._path = file
        self._file: TextIO | None = None
        self._partial = ""

    def new(self) -> list[Report]:
        if self._file is None:
            if not self._path.exists():
                return []
            self._file = self._path.open()
        *lines, self._partial = (self._partial + self._file.read()).split("\n")
        return [_parse(line) for line in lines]

    def close(self) -> None:
        if self._file:
            self._file.close()


def _parse(line: str) -> Report:
    fields = json.loads(line)
    kind = _KINDS[fields.pop("kind")]
    if kind is Ended:
        fields["outcome"] = Outcome(fields["outcome"])
    report: Report = kind(**fields)
    return report
