"""The stream of jobs: what is asked for, in which order, and when."""

import json
import random
from dataclasses import dataclass
from typing import Any

import models.starter
from db.vocabulary import JobKind
from tests.faults.installation import SMALL

HELD_OUT = models.starter.HELD_OUT.read_text().splitlines()
ROWS = [json.loads(line) for line in sorted(HELD_OUT, key=len)[:24]]
DATASET = "pages"
ADAPTER = "reference"
"""The adapter of the fine-tune before the faults; some of the jobs use it."""

MAX_BATCH = 40
SAVE_STEPS = 5
TRAINING = {
    "max_steps": 40,
    "save_steps": SAVE_STEPS,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "warmup_steps": 0,
    "learning_rate": 1e-3,
}
PATHS = {
    JobKind.GENERATION: "/v1/generations/batch",
    JobKind.EVALUATION: "/v1/evaluations",
    JobKind.FINE_TUNE: "/v1/fine-tunes",
    JobKind.QUANTIZATION: "/v1/quantizations",
}


def requests() -> dict[str, tuple[JobKind, dict[str, Any]]]:
    """Everything that is ever asked for, by the name of the result that it must have. All of it is deterministic."""
    asked: dict[str, tuple[JobKind, dict[str, Any]]] = {}
    for number, row in enumerate(ROWS):
        prompt = {"prompt": row["instruction"], "input": row["input"], "max_new_tokens": 4 + number % 8}
        asked[f"generation {number}"] = (JobKind.GENERATION, {"model": "starter", **prompt})
        if number % 4 == 0:
            asked[f"generation {number} by the adapter"] = (JobKind.GENERATION, {"model": ADAPTER, **prompt})
    for model in ("starter", ADAPTER, "baseline:nearest-neighbour"):
        body = {"model": model, "dataset": DATASET, "max_new_tokens": 8}
        asked[f"evaluation of {model}"] = (JobKind.EVALUATION, body)
    asked["fine-tune"] = (JobKind.FINE_TUNE, {"model": "starter", "dataset": DATASET, "training": TRAINING})
    options = {"bits": 4, "group_size": 64, "samples": 12}
    body = {"model": SMALL, "dataset": DATASET, "options": options, "report_rows": 0}
    asked["quantization"] = (JobKind.QUANTIZATION, body)
    return asked


@dataclass(frozen=True)
class Submission:
    """One request of the stream, sent `at` so many seconds; a job for each name of a result."""

    at: float
    kind: JobKind
    body: dict[str, Any]
    results: list[str]
    idempotency_key: str
    wait: bool


@dataclass(frozen=True)
class Upload:
    """A dataset with content of its own; `deleted` says whether it is deleted again."""

    at: float
    name: str
    rows: list[dict[str, str]]
    deleted: bool = False


def upload(number: int, at: float) -> Upload:
    rows = [{"instruction": f"Page {number}.{row}.", "output": f"<p>{number * row}</p>" * 20} for row in range(1500)]
    return Upload(at, f"upload-{number}", rows, deleted=number % 3 == 0)


def stream(random_: random.Random, jobs: int, seconds: float) -> list[Submission | Upload]:
    """So many jobs of all four kinds, and some uploads of datasets, spread over the time."""
    known = requests()
    by_kind = {kind: [name for name, (of, _) in known.items() if of == kind] for kind in PATHS}
    counts = {
        JobKind.FINE_TUNE: max(3, jobs // 600),
        JobKind.QUANTIZATION: max(1, jobs // 1000),
        JobKind.EVALUATION: max(4, jobs // 60),
    }
    items: list[Submission | Upload] = []

    def add(kind: JobKind, count: int) -> None:
        names = random_.choices(by_kind[kind], k=count)
        number = len(items)
        # Training takes long, and one comes after the other: all of it must have begun well before the end.
        at = random_.uniform(0, seconds * (0.4 if kind in (JobKind.FINE_TUNE, JobKind.QUANTIZATION) else 0.95))
        body = known[names[0]][1]
        if kind == JobKind.GENERATION:
            body = {"items": [known[name][1] for name in names]}
        elif kind != JobKind.EVALUATION:
            body = {**body, "name": f"made-{number}"}
        items.append(Submission(at, kind, body, names, f"submission-{number}", random_.random() < 0.2))

    for kind, count in counts.items():
        for _ in range(count):
            add(kind, 1)
    left = jobs - sum(counts.values())
    while left:
        size = min(left, random_.randint(1, MAX_BATCH))
        add(JobKind.GENERATION, size)
        left -= size
    items += [upload(number, random_.uniform(0, seconds)) for number in range(max(4, jobs // 50))]
    return sorted(items, key=lambda item: item.at)
