"""The task that downloads the files of a hub model to the hub's cache. Imports no torch."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from models.loading import hub
from models.loading.hub import HubUnreachable
from models.tasks.reports import DownloadedBytes, Report
from models.tasks.specification import Task

log = logging.getLogger(__name__)

REPORT_SECONDS = 0.5
RETRY_SECONDS = 300.0
"""How long a hub that does not answer is tried again, counted from the last bytes that it sent."""
MAX_PAUSE_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class PullTask(Task):
    """`location` is the repository as `owner/name`, and `commit` the commit of it."""

    function: ClassVar[str] = "models.tasks.pull:pull"
    location: str
    commit: str


def pull(task: PullTask, report: Callable[[Report], None], should_stop: Callable[[], bool]) -> bool:
    """Download the files that loading the model needs. Files that are there already are not downloaded again.

    Reports how many bytes are done, at most every half second. Raises ModelLoadError, and HubUnreachable if the hub has
    not answered for RETRY_SECONDS.
    """
    reporter = _Reporter(report)
    pause = 1.0
    while True:
        try:
            hub.fetch(task.location, task.commit, reporter)
            return True
        except HubUnreachable as error:
            if should_stop() or time.monotonic() - reporter.last_bytes_at > RETRY_SECONDS:
                raise
            log.warning("%s; it is tried again in %.0f seconds", error, pause)
            time.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)


class _Reporter:
    def __init__(self, report: Callable[[Report], None]) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._first: tuple[float, int] | None = None
        self._reported_at = 0.0
        self._done = 0
        self.last_bytes_at = time.monotonic()

    def __call__(self, progress: hub.Downloaded) -> None:
        moment = time.monotonic()
        with self._lock:
            self._first = self._first or (moment, progress.done)
            if progress.done > self._done:
                self._done, self.last_bytes_at = progress.done, moment
            if progress.done < progress.total and moment - self._reported_at < REPORT_SECONDS:
                return
            self._reported_at = moment
            self._report(
                DownloadedBytes(
                    progress.done,
                    progress.total,
                    percent_done=100.0 * progress.done / progress.total if progress.total else 100.0,
                    remaining_seconds=self._remaining(moment, progress),
                )
            )

    def _remaining(self, moment: float, progress: hub.Downloaded) -> float | None:
        """Return an estimate from what this attempt has downloaded so far, or None before it has anything."""
        assert self._first is not None
        started_at, before = self._first
        downloaded = progress.done - before
        if downloaded <= 0:
            return 0.0 if progress.done == progress.total else None
        return (progress.total - progress.done) * (moment - started_at) / downloaded
