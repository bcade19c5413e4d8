"""Starts a part again after it has ended, with pauses that grow while it keeps ending."""

from collections.abc import Callable

from pagewright.cli.up.parts import Part

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""After a part has run this long, its next restart comes after the shortest pause again."""


class Restarts:
    """The restarts of one part."""

    def __init__(self, part: Part, find_missing: Callable[[], str | None]) -> None:
        """`find_missing` returns what the parts need and do not have at the moment, as a sentence, or None."""
        self._part = part
        self._find_missing = find_missing
        self._ends = 0
        self._started = 0.0
        self._due: float | None = None
        self._last_missing: str | None = None

    def step(self, now: float) -> None:
        """Restart the part if it has ended and its pause is over. `now` is the time by `time.monotonic`.

        Prints the first end, the second, and each new reason; more of the same would bury what matters.
        """
        if self._due is not None:
            if now >= self._due:
                self._part.start()
                self._started, self._due = now, None
        elif self._part.exit_status is not None:
            pause = min(FIRST_PAUSE_SECONDS * 2**self._ends, LONGEST_PAUSE_SECONDS)
            self._ends += 1
            self._due = now + pause
            self._print_end(pause)
        elif self._ends and now - self._started >= STEADY_SECONDS:
            if self._ends > 1:
                print(f"The {self._part.name} runs again.", flush=True)
            self._ends, self._last_missing = 0, None

    def _print_end(self, pause: float) -> None:
        missing = self._find_missing()
        is_new_reason = missing is not None and missing != self._last_missing
        self._last_missing = missing
        if self._ends > 2 and not is_new_reason:
            return
        part = self._part
        text = f"The {part.name} ended with status {part.exit_status}."
        if missing:
            text += f" {missing} Pagewright waits for it, and starts the {part.name} again until it runs."
        elif self._ends == 1:
            text += f" It is started again in {pause:.0f} s."
        else:
            text += f" It is started again until it runs, after at most {LONGEST_PAUSE_SECONDS:.0f} s."
        if part.log:
            text += f" Its log: {part.log.file}" if self._ends == 1 else f" The end of its log:\n{part.log.tail()}"
        print(text, flush=True)
