"""Run jobs of every kind while each part fails in turn; report wrong results and recovery times.

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
    short: Annotated[bool, typer.Option(help="Run the short form, as CI does.")] = False,
    seed: Annotated[int | None, typer.Option(help="Seed of an earlier run, to repeat it. Default: random.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="A new folder for logs and data. Default: a temporary folder.")
    ] = None,
) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the started processes are stopped
    console = Console(width=110)
    seed = random.randrange(10**6) if seed is None else seed
    with tempfile.TemporaryDirectory(prefix="pagewright-faults-") as temporary:
        report = run(folder or Path(temporary) / "run", SHORT if short else LONG, seed, print)
    console.print(_faults(report), _jobs(report))
    console.print(
        f"Seed {report.seed}. {report.delivered_twice} messages delivered twice, {report.uploads} datasets uploaded, "
        f"{sum(report.sent_again.values())} requests sent again ({dict(report.sent_again)}). At most "
        f"{report.most_steps_lost} steps of a fine-tune were repeated."
    )
    for problem in report.problems:
        console.print(problem, markup=False)
    raise typer.Exit(1 if report.problems else 0)


def _faults(report: Report) -> Table:
    table = Table(title="Faults, and seconds until the next job ended")
    for column in ("", "faults", "median", "longest"):
        table.add_column(column, justify="left" if not column else "right")
    for fault in Fault:
        seconds = report.recovery[fault]
        times = (f"{median(seconds):.1f}", f"{max(seconds):.1f}") if seconds else ("", "")
        table.add_row(fault.value, str(report.faults[fault]), *times)
    everything = [seconds for times in report.recovery.values() for seconds in times]
    table.add_section()
    times = (f"{median(everything):.1f}", f"{max(everything):.1f}") if everything else ("", "")
    table.add_row("total", str(report.faults.total()), *times)
    return table


def _jobs(report: Report) -> Table:
    table = Table(title="Jobs")
    columns = ("", "jobs", "lost", "doubled", "stuck", "wrong", "attempts", "restarted", "most attempts")
    for column in columns:
        table.add_column(column, justify="left" if not column else "right")
    for kind, attempts in report.attempts.items():
        problems = [
            str(sum(kind.value in problem for problem in getattr(report, name)))
            for name in ("lost", "doubled", "stuck", "wrong")
        ]
        row = (str(attempts.begun), str(attempts.more_than_once), str(attempts.most))
        table.add_row(kind.value, str(attempts.jobs), *problems, *row)
    return table


if __name__ == "__main__":
    typer.run(main)
