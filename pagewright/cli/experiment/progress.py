"""Show the progress of the experiment on stderr: bars on a terminal, else a few lines per step."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

ReportProgress = Callable[[float, str], None]
"""Called with the fraction of the step that is done, 0 to 1, and a description of its state."""

LINES_PER_STEP = 4


class Steps:
    """A context manager that shows the progress of `total` steps, one after the other."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        """`console` defaults to stderr."""
        self._total = total
        self._done = 0
        self._console = console or Console(stderr=True)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[state]}", markup=False),
            TimeElapsedColumn(),
        )
        self._bars = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._whole = self._bars.add_task("experiment", total=total, state="")

    def __enter__(self) -> "Steps":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    @contextmanager
    def step(self, what: str) -> Iterator[ReportProgress]:
        """Start the next step, which is done when the context ends without an exception."""
        start, last_line = time.monotonic(), ""
        bar = self._bars.add_task(what, total=1, state="")

        def report_progress(fraction: float, state: str) -> None:
            nonlocal last_line
            self._bars.update(bar, completed=fraction, state=state)
            self._bars.update(self._whole, completed=self._done + fraction, state=f"step {self._done + 1}")
            line = f"{int(fraction * LINES_PER_STEP) / LINES_PER_STEP:.0%} {state.split(',')[0]}"
            if self._bars.disable and line != last_line:
                last_line = line
                self._print(what, f"{fraction:.0%}, {state}")

        try:
            yield report_progress
        finally:
            self._bars.remove_task(bar)
        self._print(what, f"done in {timedelta(seconds=round(time.monotonic() - start))}")
        self._done += 1
        self._bars.update(self._whole, completed=self._done)

    def _print(self, what: str, state: str) -> None:
        self._console.print(Text(f"[{self._done + 1}/{self._total}] {what}: {state}"), soft_wrap=True)
