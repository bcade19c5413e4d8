"""Measure evaluated rows per second of an evaluation job and of lm-evaluation-harness at several batch sizes.

    python -m benchmarks.evaluation [--rows 250] [--batch-sizes 1,4,8,16]

All rows of the table use the starter model in float32 on the CPU, the same held-out rows and greedy sampling.
Pagewright is measured as a whole server over HTTP, from the submission to the end of the job. The harness is measured
in a new process for each batch size, after its model is loaded. "s from nothing" is the duration of the harness's whole
process, and for Pagewright the time to start all parts on an empty data directory and to run a first evaluation. The
first run installs the harness into a separate environment with the same package versions.

"other completions" counts completions that differ from Pagewright's. The exit status is 1 if the numbers of exact
matches differ.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

import models.starter
from models.prompts.templates import build_prompt
from models.scoring.names import Metric
from pagewright.cli.local_server import running_server

ROOT = Path(__file__).parent.parent
ENVIRONMENT = ROOT / ".lm-eval"
PYTHON = str(ENVIRONMENT / "bin" / "python")
REQUIREMENT = "lm-eval[hf]==0.4.13"
STARTER = models.starter.FOLDER
POLL_SECONDS = 0.2
"""Polls take CPU time from the server that is measured, so they are rare."""

MAX_NEW_TOKENS = 1200
"""The longest reference has 1,153 tokens and the longest prompt 796, so both fit into the context of 2,048."""


@dataclass
class Evaluated:
    """The duration and the results of one evaluation. `from_nothing` includes all start-up time, in seconds."""

    name: str
    seconds: float
    exact_matches: int
    completions: list[str]
    from_nothing: float | None = None


def main(
    rows: Annotated[int, typer.Option(min=1, max=500, help="Number of held-out rows.")] = 250,
    batch_sizes: Annotated[str, typer.Option(help="Batch sizes of the harness, separated by commas.")] = "1,4,8,16",
) -> None:
    sizes = [int(size) for size in batch_sizes.split(",")]
    examples = held_out(rows)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # run both on the CPU on every machine
    install_harness()
    with tempfile.TemporaryDirectory() as folder:
        harness_results = [harness(Path(folder), examples, size) for size in sizes]
    pagewright_results = pagewright(examples)
    print_table(harness_results, pagewright_results)
    counts = {evaluated.exact_matches for evaluated in (*harness_results, *pagewright_results)}
    if len(counts) > 1:
        raise SystemExit(f"the numbers of exact matches differ: {sorted(counts)}")


def held_out(count: int) -> list[dict[str, str]]:
    """Return rows spread over the file, in which the kinds of task take turns."""
    examples = [json.loads(line) for line in STARTER.joinpath("held_out.jsonl").read_text().splitlines()]
    return examples[:: len(examples) // count][:count]


def install_harness() -> None:
    if (ENVIRONMENT / "bin" / "lm-eval").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    constraints = str(ROOT / "constraints.txt")
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "-c", constraints, REQUIREMENT], check=True)


def harness(folder: Path, examples: Sequence[dict[str, str]], batch_size: int) -> Evaluated:
    file = folder / "rows.jsonl"
    rows = (
        {"prompt": build_prompt(example["instruction"], example["input"]), "reference": example["output"]}
        for example in examples
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = [str(STARTER), str(file), str(batch_size), str(MAX_NEW_TOKENS)]
    start = time.perf_counter()
    process = subprocess.run(
        [PYTHON, "-m", "benchmarks.harness", *arguments],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    from_nothing = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(process.stderr)
    result = json.loads(process.stdout.splitlines()[-1])
    return Evaluated(f"harness, batches of {batch_size}", **result, from_nothing=from_nothing)


def pagewright(examples: Sequence[dict[str, str]]) -> list[Evaluated]:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory, running_server(directory, role="admin") as client:
        lines = "".join(json.dumps(example) + "\n" for example in examples).encode()
        upload = client.post("/v1/datasets", data={"name": "held-out"}, files={"file": ("held_out.jsonl", lines)})
        upload.raise_for_status()
        evaluate(client, "", [Metric.EXACT_MATCH])
        from_nothing = time.perf_counter() - start
        exact = evaluate(client, "Pagewright, exact match", [Metric.EXACT_MATCH])
        exact.from_nothing = from_nothing
        return [exact, evaluate(client, f"Pagewright, all {len(Metric)} metrics", list(Metric))]


def evaluate(client: httpx.Client, name: str, metrics: Sequence[Metric]) -> Evaluated:
    body = {
        "model": "starter",
        "dataset": "held-out",
        "split": "train",  # without a test fraction, all rows of an upload are training rows, in their order
        "metrics": metrics,
        "max_new_tokens": MAX_NEW_TOKENS,
    }
    start = time.perf_counter()
    submitted = client.post("/v1/evaluations", json=body)
    submitted.raise_for_status()
    path = f"/v1/evaluations/{submitted.json()['id']}"
    while (job := client.get(path).raise_for_status().json())["status"] != "succeeded":
        if job["status"] in ("failed", "cancelled"):
            raise SystemExit(f"the evaluation {job['status']}: {job['error']}")
        time.sleep(POLL_SECONDS)
    seconds = time.perf_counter() - start
    score: dict[str, Any] = job["scores"][Metric.EXACT_MATCH]
    lines = client.get(f"{path}/predictions.jsonl").raise_for_status().content.splitlines()
    completions = [json.loads(line)["completion"] for line in lines]
    return Evaluated(name, seconds, round(score["value"] * score["n"]), completions)


def print_table(harness_results: Sequence[Evaluated], pagewright_results: Sequence[Evaluated]) -> None:
    count = len(pagewright_results[0].completions)
    best = min(evaluated.seconds for evaluated in harness_results)
    table = Table(title=f"{count} held-out rows, the starter model, greedy, float32 on the CPU")
    columns = (
        "seconds",
        "rows/s",
        "relative to the best harness",
        "s from nothing",
        "exact matches",
        "other completions",
    )
    for column in ("", *columns):
        table.add_column(column, justify="left" if not column else "right")
    for evaluated in (*harness_results, *pagewright_results):
        others = sum(
            completion.strip() != expected.strip()
            for completion, expected in zip(evaluated.completions, pagewright_results[0].completions, strict=True)
        )
        table.add_row(
            evaluated.name,
            f"{evaluated.seconds:.1f}",
            f"{count / evaluated.seconds:.2f}",
            f"{best / evaluated.seconds:.2f}",
            "" if evaluated.from_nothing is None else f"{evaluated.from_nothing:.1f}",
            str(evaluated.exact_matches),
            str(others),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
