"""Runs the process of a build job: starts it, passes on its reports, logs its output, and ends it."""

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from models.tasks.process import REPORTS, STOP, command, environment
from models.tasks.reports import Ended, Report, ReportReader
from workers.jobs import AttemptFailed
from workers.leases import Interrupt, Lease

log = logging.getLogger(__name__)
output_log = logging.getLogger("models.tasks.process")

POLL_SECONDS = 0.2
LOG = "process.log"
MAX_LINE = 2000
FULL_DISK_BYTES = 1024 * 1024


class ProcessCrashed(AttemptFailed):
    """The process ended without reporting how. The message has its exit status and the last line that it printed."""


def run_process(
    specification: Path,
    lease: Lease,
    receive: Callable[[list[Report]], None],
    *,
    devices: int = 1,
    grace_seconds: float,
) -> Ended | None:
    """Run the task of the specification on `devices` devices, until it ends or the lease is interrupted.

    `receive` gets the reports in order, as they come. The lines that the process prints are logged. On shutdown the
    process is told to stop, and killed after `grace_seconds`; on any other interrupt it is killed at once.

    Returns how the task ended, or None if it was killed before. Raises ProcessCrashed.
    """
    folder = specification.parent
    stop = _Stop(lease, folder / STOP, grace_seconds)
    ended: Ended | None = None
    with (
        _logged_output(folder / LOG) as log_output,
        closing(ReportReader(folder / REPORTS)) as reader,
        _started(specification, devices) as process,
    ):
        while True:
            exited = process.poll() is not None  # checked before reading, so that no report is missed
            reports = reader.new()
            log_output()
            receive([report for report in reports if not isinstance(report, Ended)])
            # With several processes, the first one to report an end gives the reason. The others follow it.
            ended = ended or next((report for report in reports if isinstance(report, Ended)), None)
            if exited or stop.is_due():
                break
            time.sleep(POLL_SECONDS)
    if ended is None and not lease.interrupted:
        raise ProcessCrashed(f"the process ended with status {process.returncode}: {_last_line(folder / LOG)}")
    return ended


class _Stop:
    """Decides when an interrupted lease ends the process. On shutdown, creates the file that asks the task to stop."""

    def __init__(self, lease: Lease, file: Path, grace_seconds: float) -> None:
        self._lease = lease
        self._file = file
        self._grace_seconds = grace_seconds
        self._deadline: float | None = None

    def is_due(self) -> bool:
        if self._lease.interrupted != Interrupt.SHUTDOWN:
            return self._lease.interrupted is not None
        if self._deadline is None:
            self._deadline = time.monotonic() + self._grace_seconds
            self._file.touch()
        return time.monotonic() > self._deadline


@contextmanager
def _started(specification: Path, devices: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start the process, and kill it with all that it has started when the block ends."""
    with (specification.parent / LOG).open("ab") as output:
        process = subprocess.Popen(
            command(specification, devices),
            env={**os.environ, **environment(devices)},
            stdin=subprocess.PIPE,  # when it closes, the process and those that it started end themselves
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def _logged_output(file: Path) -> Iterator[Callable[[], None]]:
    """Yield a function that logs the lines appended to the file since the last call. The last call is at the end."""
    file.touch()
    with file.open(errors="replace") as output:
        output.seek(0, os.SEEK_END)  # an earlier process of the same job may have written to it

        def log_output() -> None:
            for line in output.read().splitlines():
                if line.strip():
                    output_log.info("%s", line[:MAX_LINE])

        try:
            yield log_output
        finally:
            log_output()


def _last_line(file: Path) -> str:
    lines = file.read_text(errors="replace").strip().splitlines()
    log.warning("the last lines that the process printed:\n%s", "\n".join(lines[-30:]))
    if shutil.disk_usage(file.parent).free < FULL_DISK_BYTES:
        return "the disk of its work folder is full"  # the process could not print its error either
    return lines[-1][:500] if lines else "it printed nothing"
