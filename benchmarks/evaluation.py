"""Evaluated rows per second: an evaluation job, and lm-evaluation-harness at several batch sizes.

    python -m benchmarks.evaluation [--rows 250] [--batch-sizes 1,4,8,16]

The starter model in float32 on the CPU, the same held-out rows, greedy, in one run. Pagewright is the whole server over
HTTP, from submit to the job's end; the harness is what it calls an evaluation, its model loaded before, in a process of
its own for each batch size. From nothing: the whole process of the harness, and of Pagewright the first evaluation
together with the start of all its parts on an empty data directory. The harness gets an environment of its own, with
the versions of ours, at the first run.

Other completions are those unlike Pagewright's. Ends with status 1 where the counts of exact matches differ.
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
from models.prompts.template import build_prompt
from models.scoring.names import Metric
from pagewright.cli.local_server import running_server

ROOT = Path(__file__).parent.parent
ENVIRONMENT = ROOT / ".lm-eval"
PYTHON = str(ENVIRONMENT / "bin" / "python")
REQUIREMENT = "lm-eval[hf]==0.4.13"
STARTER = models.starter.FOLDER
POLL_SECONDS = 0.2
"""Each poll costs the server a part of the two cores that it is measured on."""

MAX_NEW_TOKENS = 1200
"""The longest reference has 1,153; with the longest prompt's 796 they fit into the context, so nothing is cut."""


@dataclass
class Evaluated:
    """What one evaluation took and gave. `from_nothing` counts all that has to happen before it too."""

    name: str
    seconds: float
    exact_matches: int
    completions: list[str]
    from_nothing: float | None = None


def main(
    rows: Annotated[int, typer.Option(min=1, max=500, help="How many held-out rows.")] = 250,
    batch_sizes: Annotated[str, typer.Option(help="The harness', divided by commas.")] = "1,4,8,16",
) -> None:
    sizes = [int(size) for size in batch_sizes.split(",")]
    examples = held_out(rows)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # both take the CPU wherever this runs
    install_harness()
    with tempfile.TemporaryDirectory() as folder:
        theirs = [harness(Path(folder), examples, size) for size in sizes]
    ours = pagewright(examples)
    print_table(theirs, ours)
    counts = {evaluated.exact_matches for evaluated in (*theirs, *ours)}
    if len(counts) > 1:
        raise SystemExit(f"the counts of exact matches differ: {sorted(counts)}")


def held_out(count: int) -> list[dict[str, str]]:
    """Rows spread over the file, which has the kinds of task in turn."""
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
    begin = time.perf_counter()
    done = subprocess.run(
        [PYTHON, "-m", "benchmarks.harness", *arguments],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    whole = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(done.stderr)
    result = json.loads(done.stdout.splitlines()[-1])
    return Evaluated(f"harness, batches of {batch_size}", **result, from_nothing=whole)


def pagewright(examples: Sequence[dict[str, str]]) -> list[Evaluated]:
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory, running_server(directory, role="admin") as client:
        lines = "".join(json.dumps(example) + "\n" for example in examples).encode()
        upload = client.post("/v1/datasets", data={"name": "held-out"}, files={"file": ("held_out.jsonl", lines)})
        upload.raise_for_status()
        evaluate(client, "", [Metric.EXACT_MATCH])
        whole = time.perf_counter() - begin
        exact = evaluate(client, "Pagewright, exact match", [Metric.EXACT_MATCH])
        exact.from_nothing = whole
        return [exact, evaluate(client, f"Pagewright, all {len(Metric)} metrics", list(Metric))]


def evaluate(client: httpx.Client, name: str, metrics: Sequence[Metric]) -> Evaluated:
    asked = {
        "model": "starter",
        "dataset": "held-out",
        "split": "train",  # an upload that names no fraction for tests is all of it training rows, in their order
        "metrics": metrics,
        "max_new_tokens": MAX_NEW_TOKENS,
    }
    begin = time.perf_counter()
    submitted = client.post("/v1/evaluations", json=asked)
    submitted.raise_for_status()
    path = f"/v1/evaluations/{submitted.json()['id']}"
    while (job := client.get(path).raise_for_status().json())["status"] != "succeeded":
        if job["status"] in ("failed", "cancelled"):
            raise SystemExit(f"the evaluation {job['status']}: {job['error']}")
        time.sleep(POLL_SECONDS)
    seconds = time.perf_counter() - begin
    score: dict[str, Any] = job["scores"][Metric.EXACT_MATCH]
    lines = client.get(f"{path}/predictions.jsonl").raise_for_status().content.splitlines()
    completions = [json.loads(line)["completion"] for line in lines]
    return Evaluated(name, seconds, round(score["value"] * score["n"]), completions)


def print_table(theirs: Sequence[Evaluated], ours: Sequence[Evaluated]) -> None:
    count = len(ours[0].completions)
    best = min(evaluated.seconds for evaluated in theirs)
    table = Table(title=f"{count} held-out rows, the starter model, greedy, float32 on the CPU")
    columns = ("seconds", "rows/s", "of the best harness", "s from nothing", "exact matches", "other completions")
    for column in ("", *columns):
        table.add_column(column, justify="left" if not column else "right")
    for evaluated in (*theirs, *ours):
        others = sum(
            their.strip() != our.strip() for their, our in zip(evaluated.completions, ours[0].completions, strict=True)
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
