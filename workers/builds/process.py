"""Runs `models.tasks.process` for a claimed job, and hands on what it reports."""

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from models.tasks.process import REPORTS, STOP, command, environment
from models.tasks.reports import Ended, Report, ReportReader
from workers.leases import Interrupt, Lease

log = logging.getLogger(__name__)
output_log = logging.getLogger("models.tasks.process")

POLL_SECONDS = 0.2
LOG = "process.log"
MAX_LINE = 2000
LITTLE_ROOM_BYTES = 1024 * 1024


class ProcessCrashed(RuntimeError):
    """The process ended without saying how. The message has its status and the last that it printed."""


def run_process(
    specification: Path,
    lease: Lease,
    receive: Callable[[list[Report]], None],
    *,
    devices: int = 1,
    grace_seconds: float,
) -> Ended | None:
    """Run the task that the specification describes, on `devices` devices, to its end or to the lease's interrupt.

    `receive` gets the reports as they come, in order; what the process prints is logged, line by line. Returns how the
    task ended; None if it was interrupted before it could say. Told to shut down, it has `grace_seconds` to leave a
    checkpoint. Raises ProcessCrashed.
    """
    folder = specification.parent
    reader = ReportReader(folder / REPORTS)
    (folder / LOG).touch()
    printed = (folder / LOG).open(errors="replace")
    printed.seek(0, os.SEEK_END)  # what an earlier process for the same task printed is logged already
    with (folder / LOG).open("ab") as output:
        process = subprocess.Popen(
            command(specification, devices),
            env={**os.environ, **environment(devices)},
            stdin=subprocess.PIPE,  # its end tells the process, and those it started, that this one is gone
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    ended: Ended | None = None
    stop_by: float | None = None
    try:
        while True:
            over = process.poll() is not None  # asked before the last look, so that nothing is missed
            reports = reader.new()
            _pass_on(printed)
            receive([report for report in reports if not isinstance(report, Ended)])
            # Of several processes one may say why, and the others only that they were ended.
            ended = ended or next((report for report in reports if isinstance(report, Ended)), None)
            if over:
                break
            if lease.interrupted == Interrupt.SHUTDOWN:
                if stop_by is None:
                    stop_by = time.monotonic() + grace_seconds
                    (folder / STOP).touch()
                if time.monotonic() > stop_by:
                    break
            elif lease.interrupted:
                break
            time.sleep(POLL_SECONDS)
    finally:
        reader.close()
        _end(process)
        _pass_on(printed)
        printed.close()
    if ended is None and not lease.interrupted:
        raise ProcessCrashed(f"its process ended with status {process.returncode}: {_last_words(folder / LOG)}")
    return ended


def _pass_on(printed: TextIO) -> None:
    """Log the lines that were printed since; half a line comes as two."""
    for line in printed.read().splitlines():
        if line.strip():
            output_log.info("%s", line[:MAX_LINE])


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started; those in sessions of their own see their standard input end."""
    assert process.stdin is not None
    process.stdin.close()
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_words(file: Path) -> str:
    lines = file.read_text(errors="replace").strip().splitlines()
    log.warning("the process printed last:\n%s", "\n".join(lines[-30:]))
    if shutil.disk_usage(file.parent).free < LITTLE_ROOM_BYTES:
        return "the disk of its work folder is full"  # what it had to say of that did not fit either
    return lines[-1][:500] if lines else "it printed nothing"
