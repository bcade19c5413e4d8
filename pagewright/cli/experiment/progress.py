"""How far the experiment has come, on stderr: bars on a terminal, elsewhere a line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

Tell = Callable[[float, str], None]
"""Takes how much of the step is done, 0 to 1, and its state in words."""

LINES_A_STEP = 4


class Steps:
    """Shows a known number of steps, one after the other. A context manager: what it shows ends with it."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        """`console` is where it is shown; default: stderr."""
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
    def step(self, what: str) -> Iterator[Tell]:
        """Begins the next step; it is done when the context ends without an exception."""
        start, shown = time.monotonic(), ""
        bar = self._bars.add_task(what, total=1, state="")

        def tell(fraction: float, state: str) -> None:
            nonlocal shown
            self._bars.update(bar, completed=fraction, state=state)
            self._bars.update(self._whole, completed=self._done + fraction, state=f"step {self._done + 1}")
            news = f"{int(fraction * LINES_A_STEP) / LINES_A_STEP:.0%} {state.split(',')[0]}"
            if self._bars.disable and news != shown:
                shown = news
                self._print(what, f"{fraction:.0%}, {state}")

        try:
            yield tell
        finally:
            self._bars.remove_task(bar)
        self._print(what, f"done in {timedelta(seconds=round(time.monotonic() - start))}")
        self._done += 1
        self._bars.update(self._whole, completed=self._done)

    def _print(self, what: str, state: str) -> None:
        self._console.print(Text(f"[{self._done + 1}/{self._total}] {what}: {state}"), soft_wrap=True)
