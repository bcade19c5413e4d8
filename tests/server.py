"""Pagewright as `pagewright up` starts it on this machine, for tests that use HTTP alone."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from pagewright.cli.up.parts import free_port
from tests.processes import COMMAND, LIMIT_SECONDS, eventually


@contextmanager
def running_up(data_dir: Path) -> Iterator[tuple[psutil.Process, httpx.Client]]:
    """Start `pagewright up` with defaults, except that leases expire soon; yield its process and an admin's client."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PAGEWRIGHT_")} | {
        "PAGEWRIGHT_DATA_DIR": str(data_dir),
        "PAGEWRIGHT_PORT": str(port),
        "PAGEWRIGHT_LEASE_SECONDS": "3",
        "PAGEWRIGHT_HEARTBEAT_SECONDS": "0.5",
        "PAGEWRIGHT_RECONCILE_SECONDS": "0.5",
    }
    process = subprocess.Popen([*COMMAND, "up"], env=environment, text=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        printed = ""
        while "Ctrl-C stops it." not in printed:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        [key] = re.findall(r"Admin key \(shown only once\): (\S+)", printed)
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=LIMIT_SECONDS) as client:
            yield psutil.Process(process.pid), client
    finally:
        process.terminate()
        process.wait()


def answer(response: httpx.Response, status: int) -> dict[str, Any]:
    """Return the JSON body of a response that must have this status."""
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body


def finished(client: httpx.Client, path: str) -> dict[str, Any]:
    """Wait for the end of a job that must succeed, and return it."""
    eventually(lambda: answer(client.get(path), 200)["status"] not in ("queued", "running"), f"the end of {path}")
    job = answer(client.get(path), 200)
    assert job["status"] == "succeeded", job
    return job
