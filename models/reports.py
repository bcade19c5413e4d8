"""What a long task tells whoever waits for it; from a process of its own, as lines of JSON in a file. No torch here."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TextIO


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


Report = Measured | Happened | Checkpointed | Ended

_KINDS = {kind.__name__: kind for kind in (Measured, Happened, Checkpointed, Ended)}


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
