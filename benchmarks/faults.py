"""Jobs of every kind while everything fails in turn: what of it comes out right, and how soon it goes on.

python -m benchmarks.faults                  # 20,000 jobs, 200 faults within 40 minutes
python -m benchmarks.faults --short          # what CI runs
"""

import random
import signal
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.faults.injection import Fault
from tests.faults.run import LONG, SHORT, run
from tests.faults.verdict import Report


def main(
    short: Annotated[bool, typer.Option(help="The size that CI runs.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of an earlier run, to have it again; default: a new one.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="A new folder for logs and all else; default: one for now.")
    ] = None,
) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended then, too
    console = Console(width=110)
    seed = random.randrange(10**6) if seed is None else seed
    with tempfile.TemporaryDirectory(prefix="pagewright-faults-") as temporary:
        report = run(folder or Path(temporary) / "run", SHORT if short else LONG, seed, print)
    console.print(_faults(report), _jobs(report))
    console.print(
        f"Seed {report.seed}. {report.delivered_twice} messages delivered twice, {report.uploads} datasets uploaded, "
        f"{sum(report.sent_again.values())} requests sent again ({dict(report.sent_again)}). At most "
        f"{report.most_steps_lost} steps of a fine-tune done again."
    )
    for problem in report.problems:
        console.print(problem, markup=False)
    raise typer.Exit(1 if report.problems else 0)


def _faults(report: Report) -> Table:
    table = Table(title="Faults, and seconds to the next job that came to its end")
    for column in ("", "faults", "median", "longest"):
        table.add_column(column, justify="left" if not column else "right")
    for fault in Fault:
        seconds = report.recovery[fault]
        times = (f"{median(seconds):.1f}", f"{max(seconds):.1f}") if seconds else ("", "")
        table.add_row(fault.value, str(report.faults[fault]), *times)
    everything = [seconds for found in report.recovery.values() for seconds in found]
    table.add_section()
    times = (f"{median(everything):.1f}", f"{max(everything):.1f}") if everything else ("", "")
    table.add_row("together", str(report.faults.total()), *times)
    return table


def _jobs(report: Report) -> Table:
    table = Table(title="Jobs")
    columns = ("", "jobs", "lost", "doubled", "stuck", "wrong", "attempts", "begun again", "most attempts")
    for column in columns:
        table.add_column(column, justify="left" if not column else "right")
    for kind, found in report.attempts.items():
        problems = [
            str(sum(kind.value in problem for problem in getattr(report, name)))
            for name in ("lost", "doubled", "stuck", "wrong")
        ]
        row = (str(found.begun), str(found.more_than_once), str(found.most))
        table.add_row(kind.value, str(found.jobs), *problems, *row)
    return table


if __name__ == "__main__":
    typer.run(main)
