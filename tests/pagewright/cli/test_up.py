import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from pagewright.cli.up.parts import free_port
from tests.processes import COMMAND, eventually


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """As on a fresh machine: nothing of Pagewright's in the environment but where to keep data."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PAGEWRIGHT_")}
    return {
        **inherited,
        "PAGEWRIGHT_DATA_DIR": str(tmp_path / "data"),
        "PAGEWRIGHT_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }


@contextmanager
def up(settings: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running `pagewright up` and what it printed before it was ready."""
    process = subprocess.Popen(
        [*COMMAND, "up"], env=settings, text=True, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    printed = ""
    try:
        while "Ctrl-C stops it." not in printed:
            line = process.stdout.readline()
            assert line, f"it ended with status {process.wait()}: {printed}"
            printed += line
        yield process, printed
    finally:
        process.kill()
        process.wait()


def refused(settings: dict[str, str]) -> str:
    """What `pagewright up` says when it can't run."""
    ended = subprocess.run([*COMMAND, "up"], env=settings, text=True, capture_output=True, check=False)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr


def client(settings: dict[str, str], key: str) -> httpx.Client:
    address = f"http://127.0.0.1:{settings['PAGEWRIGHT_PORT']}"
    return httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=60)


def test_everything_starts_works_stops_and_is_found_again(settings: dict[str, str]) -> None:
    body = {"model": "starter", "prompt": "Create a page titled 'One'.", "max_new_tokens": 30}
    with up(settings) as (process, printed):
        [key] = re.findall(r"Admin key \(shown only once\): (\S+)", printed)
        assert f"http://127.0.0.1:{settings['PAGEWRIGHT_PORT']}" in printed
        with client(settings, key) as http:
            job = http.post("/v1/generations", json=body, headers={"Prefer": "wait=60"}).json()
            assert job["status"] == "succeeded", job

            # A part that dies is started again.
            children = psutil.Process(process.pid).children()
            [worker] = [child for child in children if "inference" in child.cmdline()]
            worker.kill()
            job = http.post("/v1/generations", json=body, headers={"Prefer": "wait=60"}).json()
            assert job["status"] == "succeeded", job

        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 4
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert [child for child in children if child.is_running()] == []

    with up(settings) as (process, printed):
        assert "Admin key" not in printed
        with client(settings, key) as http:
            assert http.get(f"/v1/generations/{job['id']}").json() == job
        assert "another `pagewright up`" in refused({**settings, "PAGEWRIGHT_PORT": str(free_port())})

        # Killed outright, it leaves nothing behind that holds the port.
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        eventually(lambda: not any(child.is_running() for child in children), "the end of its parts")


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


def test_a_broken_database_is_said_to_be_broken(settings: dict[str, str]) -> None:
    directory = Path(settings["PAGEWRIGHT_DATA_DIR"])
    directory.mkdir()
    (directory / "pagewright.sqlite3").write_bytes(b"no database" * 1000)
    assert "file is not a database" in refused(settings)


def test_a_setting_that_cannot_be_read_is_named_without_its_value(settings: dict[str, str]) -> None:
    error = refused({**settings, "PAGEWRIGHT_LEASE_SECONDS": "soon"})
    assert "PAGEWRIGHT_LEASE_SECONDS" in error
    assert "soon" not in error
