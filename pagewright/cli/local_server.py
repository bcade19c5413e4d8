"""A server that a command starts for itself with `pagewright up`, and stops when it is done."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import BinaryIO

import httpx

from pagewright.cli.child_processes import ended_with_parent, handle_end_signals
from pagewright.cli.client import connect
from pagewright.cli.up import readiness
from pagewright.cli.up.parts import free_port
from pagewright.cli.up.readiness import START_SECONDS

COMMAND = [sys.executable, "-m", "pagewright"]


class LocalServerError(Exception):
    """The server did not start, or ended with an error. The message is for the user of the command."""


@contextmanager
def running_server(
    data_dir: str, role: str = "user", models_dir: Path | None = None, log: Path | None = None
) -> Iterator[httpx.Client]:
    """Run `pagewright up` on a free port, and yield a client with a new API key of the given role.

    `models_dir` is the directory of local models; default: that in `data_dir`. The server's output is appended to the
    file `log`, or goes to this process's output. Raises LocalServerError if the server does not start, or ends with
    an error.
    """
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PAGEWRIGHT_")}
    environment = {**inherited, "PAGEWRIGHT_DATA_DIR": data_dir, "PAGEWRIGHT_PORT": str(port)}
    environment["PAGEWRIGHT_LOG_FORMAT"] = "text"
    if models_dir:
        environment["PAGEWRIGHT_MODELS_DIR"] = str(models_dir)
    address = f"http://127.0.0.1:{port}"
    with _opened(log) as output:
        server = subprocess.Popen(
            [*COMMAND, "up", "--logs", "stderr"],
            env=environment,
            start_new_session=True,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            preexec_fn=ended_with_parent(),
        )
    place = f"its output is in {log}" if log else "its output is above"
    stop = _Stop(server)
    handle_end_signals(stop.on_signal)
    try:
        _wait_until_ready(server, address, place)
        key = _create_key(environment, role)
        with connect(address, key) as client:
            yield client
    finally:
        status = stop()
    if status:
        raise LocalServerError(f"`pagewright up` ended with status {status}; {place}")


class _Stop:
    """Ends the server: in order at first, and at once when a second signal comes meanwhile."""

    def __init__(self, server: subprocess.Popen[bytes]) -> None:
        self._server = server
        self._told = False

    def __call__(self) -> int:
        """Return the server's exit status when it has ended."""
        if not self._told:
            self._told = True
            self._server.terminate()
        return self._server.wait()

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._server.terminate()  # `up` takes the second signal as the order to kill its parts
        if self._told:
            return
        self._told = True
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)


def _opened(log: Path | None) -> AbstractContextManager[BinaryIO | None]:
    if log is None:
        return nullcontext()
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("ab")
    except OSError as error:
        raise LocalServerError(f"{log} can't be written: {error.strerror}") from None


def _wait_until_ready(server: subprocess.Popen[bytes], address: str, place: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not (state := readiness.check(address)).ready:
        if server.poll() is not None:
            raise LocalServerError(f"`pagewright up` ended with status {server.returncode}; {place}")
        if time.monotonic() > deadline:
            raise LocalServerError(f"the server is not ready after {START_SECONDS} seconds: {state.detail}; {place}")
        time.sleep(0.2)


def _create_key(environment: dict[str, str], role: str) -> str:
    command = [*COMMAND, "keys", "create", "local", "--role", role]
    created = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if created.returncode:
        raise LocalServerError(f"`pagewright keys create` failed: {created.stderr}")
    return created.stdout.strip()
