"""Another installation with the same Redis database. It has jobs from the start, and a worker only at the end."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

import migrations
from db.queries import api_keys
from db.queries import models as registered
from db.session import Database
from db.vocabulary import JobStatus, Role
from pagewright.cli.up.parts import free_port
from tests.faults.installation import NEIGHBOUR, TRAINING, Installation, logged_part
from tests.processes import COMMAND, LIMIT_SECONDS, eventually

JOBS = 5


class Neighbour:
    """`environment` is that of its processes; `http` sends requests to its API."""

    def __init__(self, installation: Installation, environment: dict[str, str], http: httpx.Client) -> None:
        self._installation = installation
        self._environment = environment
        self._http = http
        self._jobs: list[str] = []

    def submit(self) -> None:
        """Submit jobs, for which there is no worker."""
        items = [{"model": "starter", "prompt": "A page", "max_new_tokens": 4}] * JOBS
        answer = self._http.post("/v1/generations/batch", json={"items": items})
        self._jobs = answer.raise_for_status().json()["job_ids"]

    def problems(self) -> list[str]:
        """Say whether anything else has touched the jobs or counts as a worker; then start a worker for the jobs."""
        found = []
        readiness = self._http.get("/readyz").json()
        if readiness["ready"] or any(readiness["workers"].values()):
            found.append(f"the other installation has no worker, but reports {readiness}")
        if self._statuses() != {JobStatus.QUEUED}:
            found.append(f"the other installation has no worker, but its jobs are {self._statuses()}")
        worker = logged_part(
            self._installation.folder,
            "another installation's worker",
            [*COMMAND, "worker", "--role", "inference"],
            self._environment,
        )
        worker.start()
        deadline = time.monotonic() + LIMIT_SECONDS
        while self._statuses() != {JobStatus.SUCCEEDED} and time.monotonic() < deadline:
            time.sleep(0.2)
        if self._statuses() != {JobStatus.SUCCEEDED}:
            found.append(f"the jobs of the other installation are {self._statuses()}")
        worker.stop()
        return found

    def _statuses(self) -> set[str]:
        return {self._http.get(f"/v1/jobs/{job_id}").json()["status"] for job_id in self._jobs}


@contextmanager
def beside(installation: Installation) -> Iterator[Neighbour]:
    """Start the API of another installation; its process becomes one of the parts."""
    folder = installation.folder / "neighbour"
    folder.mkdir()
    url = f"sqlite:///{folder / 'pagewright.sqlite3'}"
    migrations.upgrade(url)
    with Database(url).write() as session:
        registered.ensure_bundled(session)
        _, key = api_keys.create(session, "faults", Role.ADMIN)
    port = free_port()
    environment = {
        **installation.parts[TRAINING].environment,
        "PAGEWRIGHT_DATABASE_URL": url,
        "PAGEWRIGHT_DATA_DIR": str(folder),
        "PAGEWRIGHT_PORT": str(port),
    }
    part = logged_part(installation.folder, NEIGHBOUR, [*COMMAND, "api"], environment)
    installation.parts[NEIGHBOUR] = part
    part.start()
    headers = {"Authorization": f"Bearer {key}"}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as http:
            eventually(lambda: _answers(http), "the API of the other installation")
            yield Neighbour(installation, environment, http)
    finally:
        if part.process and part.process.poll() is None:
            part.process.send_signal(signal.SIGKILL)
            part.process.wait()


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").is_success
    except httpx.TransportError:
        return False
