"""Pagewright's own processes, started as an operator would start them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from redis import Redis, RedisError

from pagewright.cli.up import redis_server

COMMAND = [sys.executable, "-m", "pagewright"]


def environment(**settings: object) -> dict[str, str]:
    """This process's environment with settings added by name."""
    named = {f"PAGEWRIGHT_{name.upper()}": str(value) for name, value in settings.items()}
    return {**os.environ, **named, "OMP_NUM_THREADS": "1"}


def start_redis(port: int) -> subprocess.Popen[bytes]:
    """A redis-server that keeps nothing on disk, and that answers."""
    command = [redis_server(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    client = Redis(port=port)
    eventually(lambda: answers(client), "Redis", 10)
    return process


def answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


@contextmanager
def running(
    *arguments: str, log: Path | None = None, output: Path | None = None, **settings: object
) -> Iterator[subprocess.Popen[str]]:
    """`pagewright` with these arguments; killed at the end, if it is still there. `log` is where its lines go, and
    `output` what else it prints; default: where those of this process go."""
    with log.open("a") if log else nullcontext() as stderr, output.open("a") if output else nullcontext() as stdout:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            env=environment(**settings),
            start_new_session=True,
            text=True,
            stdout=stdout,
            stderr=stderr,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()


def eventually(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until the condition holds; fail, saying what did not come, if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} seconds: {what}"
        time.sleep(0.05)
