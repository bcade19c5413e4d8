"""The jobs and uploads of a run, in order and with their times."""

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
"""The adapter that the fine-tune before the faults makes; some jobs use it."""

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
    """Return every request that a run sends, by the name of its expected result. All results are deterministic."""
    by_name: dict[str, tuple[JobKind, dict[str, Any]]] = {}
    for number, row in enumerate(ROWS):
        prompt = {"prompt": row["instruction"], "input": row["input"], "max_new_tokens": 4 + number % 8}
        by_name[f"generation {number}"] = (JobKind.GENERATION, {"model": "starter", **prompt})
        if number % 4 == 0:
            by_name[f"generation {number} by the adapter"] = (JobKind.GENERATION, {"model": ADAPTER, **prompt})
    for model in ("starter", ADAPTER, "baseline:nearest-neighbour"):
        body = {"model": model, "dataset": DATASET, "max_new_tokens": 8}
        by_name[f"evaluation of {model}"] = (JobKind.EVALUATION, body)
    by_name["fine-tune"] = (JobKind.FINE_TUNE, {"model": "starter", "dataset": DATASET, "training": TRAINING})
    options = {"bits": 4, "group_size": 64, "samples": 12}
    body = {"model": SMALL, "dataset": DATASET, "options": options, "report_rows": 0}
    by_name["quantization"] = (JobKind.QUANTIZATION, body)
    return by_name


@dataclass(frozen=True)
class Submission:
    """A request that is sent `at` this many seconds; `results` names the expected result of each job that it starts."""

    at: float
    kind: JobKind
    body: dict[str, Any]
    results: list[str]
    idempotency_key: str
    wait: bool


@dataclass(frozen=True)
class Upload:
    """A dataset with unique content; if `deleted`, the client deletes it after the upload."""

    at: float
    name: str
    rows: list[dict[str, str]]
    deleted: bool = False


def upload(number: int, at: float) -> Upload:
    rows = [{"instruction": f"Page {number}.{row}.", "output": f"<p>{number * row}</p>" * 20} for row in range(1500)]
    return Upload(at, f"upload-{number}", rows, deleted=number % 3 == 0)


def stream(random_: random.Random, jobs: int, seconds: float) -> list[Submission | Upload]:
    """Return `jobs` jobs of all four kinds and some uploads of datasets, spread over `seconds`."""
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
        # Builds take long and run one after the other: all of them must start well before the end.
        at = random_.uniform(0, seconds * (0.4 if kind in (JobKind.FINE_TUNE, JobKind.QUANTIZATION) else 0.95))
        body = known[names[0]][1]
        if kind == JobKind.GENERATION:
            body = {"items": [known[name][1] for name in names]}
        elif kind != JobKind.EVALUATION:
            body = {**body, "name": f"result-{number}"}
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
