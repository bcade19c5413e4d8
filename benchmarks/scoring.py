"""Seconds that scoring takes in the worst case, on one core.

    python -m benchmarks.scoring [--rows 100000]

First table: each metric and the HTML parser on each of the hostile texts of `tests/pages.py`, up to 200,000 characters.
Every text is compared with itself rotated by a quarter. Then: the overall scores of many rows.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from models.scoring.dom import parse
from models.scoring.metrics import score
from models.scoring.names import Metric
from pagewright.statistics import CHRF_COUNTS, overall_scores
from tests.pages import HOSTILE


def main(rows: Annotated[int, typer.Option(min=2, help="Number of rows of the overall scores.")] = 100_000) -> None:
    table = Table(title="CPU seconds on hostile texts")
    table.add_column("text")
    for name in ("parser", *Metric):
        table.add_column(name.replace("_", " "), justify="right")
    slowest = 0.0
    for name, text in HOSTILE.items():
        rotated = text[len(text) // 4 :] + text[: len(text) // 4]
        seconds = [_cpu_seconds(partial(parse, text))]
        seconds += [_cpu_seconds(partial(score, text, rotated, [metric])) for metric in Metric]
        slowest = max(slowest, *seconds)
        table.add_row(name, *(f"{one:.2f}" for one in seconds))
    console = Console(width=140)
    console.print(table)
    console.print(f"Slowest: {slowest:.2f} s")

    generator = np.random.default_rng(4)
    scores = {metric.value: generator.random(rows) for metric in Metric}
    counts = generator.integers(1, 1_000, (rows, CHRF_COUNTS))
    console.print(f"Overall scores of {rows:,} rows: {_cpu_seconds(lambda: overall_scores(scores, counts)):.1f} s")


def _cpu_seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


if __name__ == "__main__":
    typer.run(main)
