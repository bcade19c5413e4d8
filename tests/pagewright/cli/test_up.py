"""`pagewright up` as a user starts it, with and without a terminal."""

import os
import pty
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from pagewright.cli.up.parts import free_port
from pagewright.cli.up.supervisor import address_of
from tests.processes import COMMAND, eventually

READY = "Ctrl-C stops it."
BODY = {"model": "starter", "prompt": "Create a page titled 'One'.", "max_new_tokens": 30}


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """The environment of a new installation: of Pagewright's variables only the data directory and the port are set."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PAGEWRIGHT_")}
    return {
        **inherited,
        "PAGEWRIGHT_DATA_DIR": str(tmp_path / "data"),
        "PAGEWRIGHT_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }


@contextmanager
def up(settings: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `pagewright up`, and yield its process and what it printed before it was ready."""
    process = subprocess.Popen(
        [*COMMAND, "up"], env=settings, text=True, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    printed = ""
    try:
        while READY not in printed:
            line = process.stdout.readline()
            assert line, f"it ended with status {process.wait()}: {printed}"
            printed += line
        yield process, printed
    finally:
        process.kill()
        process.wait()


@contextmanager
def up_on_a_terminal(settings: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """Run `pagewright up` on a terminal, and yield its process and a function that returns what it printed so far."""
    terminal, other_end = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "up"],
        env=settings,
        stdin=subprocess.DEVNULL,
        stdout=other_end,
        stderr=other_end,
        start_new_session=True,
    )
    os.close(other_end)
    printed = bytearray()

    def read() -> None:
        try:
            while more := os.read(terminal, 4096):
                printed.extend(more)
        except OSError:  # Linux's way to report that the other end is closed
            pass

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield process, lambda: printed.decode(errors="replace").replace("\r\n", "\n")
    finally:
        process.kill()
        process.wait()
        thread.join()
        os.close(terminal)


def refused(settings: dict[str, str]) -> str:
    """Run `pagewright up`, which must fail, and return its error message."""
    ended = subprocess.run([*COMMAND, "up"], env=settings, text=True, capture_output=True, check=False)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr


def client(settings: dict[str, str], key: str) -> httpx.Client:
    address = f"http://127.0.0.1:{settings['PAGEWRIGHT_PORT']}"
    return httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=120)


def generate(http: httpx.Client) -> dict[str, Any]:
    """Submit a generation, which must succeed, and return its job."""
    job: dict[str, Any] = http.post("/v1/generations", json=BODY).json()

    def has_ended() -> bool:
        nonlocal job
        job = http.get(f"/v1/generations/{job['id']}").json()
        return job["finished_at"] is not None

    eventually(has_ended, "the end of the generation")
    assert job["status"] == "succeeded", job
    return job


def worker_of(process: psutil.Process, role: str) -> psutil.Process:
    [worker] = [child for child in process.children() if role in child.cmdline()]
    return worker


@pytest.mark.long
def test_up_starts_all_parts_restarts_them_stops_them_and_keeps_the_data(settings: dict[str, str]) -> None:
    with up(settings) as (process, printed):
        [key] = re.findall(r"Admin key \(shown only once\): (\S+)", printed)
        address = f"http://127.0.0.1:{settings['PAGEWRIGHT_PORT']}"
        assert f"Pagewright is at {address}" in printed
        assert f"curl -s {address}/v1/generations" in printed
        with client(settings, key) as http:
            generate(http)
            worker_of(psutil.Process(process.pid), "inference").kill()
            job = generate(http)

        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 4
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert [child for child in children if child.is_running()] == []
        assert not (Path(settings["PAGEWRIGHT_DATA_DIR"]) / "logs").exists()

    with up(settings) as (process, printed):
        assert "Admin key" not in printed
        with client(settings, key) as http:
            assert http.get(f"/v1/generations/{job['id']}").json() == job
        assert "another `pagewright up`" in refused({**settings, "PAGEWRIGHT_PORT": str(free_port())})

        # The parts of a supervisor that is killed end too, so that the port is free again.
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        eventually(lambda: not any(child.is_running() for child in children), "the end of the parts")


def test_on_a_terminal_the_logs_go_to_files_and_errors_to_the_terminal_too(settings: dict[str, str]) -> None:
    logs = Path(settings["PAGEWRIGHT_DATA_DIR"]) / "logs"
    with up_on_a_terminal(settings) as (process, printed):
        eventually(lambda: READY in printed() or process.poll() is not None, "readiness")
        assert process.poll() is None, printed()
        ready = re.findall(r"^  (.*\S) +ready$", printed(), re.MULTILINE)
        assert ready[:2] == ["database", "redis"]
        assert sorted(ready[2:]) == ["api", "build worker", "inference worker"]
        assert str(logs) in printed()
        assert '"level"' not in printed()
        for role in ("build", "inference"):
            log = logs / f"{role}-worker.log"
            eventually(lambda log=log: '"logger": "workers.main"' in log.read_text(), f"a line in {log}")  # type: ignore[misc]

        worker_of(psutil.Process(process.pid), "build").kill()
        log = logs / "build-worker.log"
        restart = f"The build worker ended with status -9. It is started again in 1 s. Its log: {log}"
        eventually(lambda: restart in printed(), "the restart")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0


def test_a_taken_port_is_named(settings: dict[str, str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(settings["PAGEWRIGHT_PORT"])))
        other.listen()
        error = refused(settings)
    assert f"127.0.0.1:{settings['PAGEWRIGHT_PORT']}" in error
    assert "PAGEWRIGHT_PORT" in error


def test_a_data_directory_that_is_a_file_is_named(settings: dict[str, str]) -> None:
    Path(settings["PAGEWRIGHT_DATA_DIR"]).write_text("")
    assert settings["PAGEWRIGHT_DATA_DIR"] in refused(settings)


def test_a_database_file_that_is_not_a_database_is_an_error(settings: dict[str, str]) -> None:
    directory = Path(settings["PAGEWRIGHT_DATA_DIR"])
    directory.mkdir()
    (directory / "pagewright.sqlite3").write_bytes(b"no database" * 1000)
    assert "file is not a database" in refused(settings)


def test_an_invalid_setting_is_named_without_its_value(settings: dict[str, str]) -> None:
    error = refused({**settings, "PAGEWRIGHT_LEASE_SECONDS": "soon"})
    assert "PAGEWRIGHT_LEASE_SECONDS" in error
    assert "soon" not in error


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("fe80::1", "http://[fe80::1]:8000"),
        ("gpu.example", "http://gpu.example:8000"),
    ],
)
def test_the_printed_address_is_one_that_this_machine_reaches(host: str, address: str) -> None:
    assert address_of(host, 8000) == address
