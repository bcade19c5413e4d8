"""However a command ends, the processes that it started end too."""

import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.pagewright.cli.test_up import settings, up, worker_of  # noqa: F401
from tests.processes import COMMAND, environment, eventually

PARTS = {"redis-server", "api", "inference", "build"}


def started_parts(pid: int) -> list[psutil.Process]:
    """The processes below this one, once all parts of a server are among them."""
    found: list[psutil.Process] = []

    def all_run() -> bool:
        found[:] = psutil.Process(pid).children(recursive=True)
        words = {Path(word).name for process in found for word in process.cmdline()}
        return words >= PARTS

    eventually(all_run, "the start of all parts")
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_no_process_of_a_demo_is_left_after_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "demo"], cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True
    )
    parts: list[psutil.Process] = []
    try:
        parts = started_parts(process.pid)
        process.send_signal(number)
        process.wait()
        eventually(lambda: not any(part.is_running() for part in parts), "the end of the parts")
    finally:
        process.kill()
        process.wait()
        for part in parts:
            if part.is_running():
                part.kill()
    assert process.returncode in {128 + number, -number}


def test_a_second_signal_kills_all_parts_of_a_server_that_do_not_end(settings: dict[str, str]) -> None:  # noqa: F811
    with up({**settings, "PAGEWRIGHT_SHUTDOWN_GRACE_SECONDS": "100000"}) as (process, _):
        parts = started_parts(process.pid)
        worker_of(psutil.Process(process.pid), "inference").suspend()  # it can't react to SIGTERM
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert "Stopping." in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert [part for part in parts if part.is_running()] == []
