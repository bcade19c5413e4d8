"""Start Pagewright's own processes as an operator would, and wait for what they do."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from redis import Redis, RedisError

from pagewright.cli.up.parts import redis_server
from tests import preloaded

LIMIT_SECONDS = 600.0
"""How long a test waits for anything: long enough that only a hang reaches it, on a slow and busy machine too."""

COMMAND = [sys.executable, "-m", "pagewright"]


def environment(**settings: object) -> dict[str, str]:
    """Return this process's environment with Pagewright settings added by name."""
    named = {f"PAGEWRIGHT_{name.upper()}": str(value) for name, value in settings.items()}
    return {**os.environ, **named, "OMP_NUM_THREADS": "1"}


def start_redis(port: int) -> subprocess.Popen[bytes]:
    """Start a redis-server that keeps nothing on disk, and wait until it answers."""
    command = [redis_server(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    client = Redis(port=port)
    eventually(lambda: answers(client), "Redis answers")
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
    """Run `pagewright` with these arguments, and kill it at the end if it still runs.

    Its log lines go to the file `log` and its other output to the file `output`; by default both go where this
    process's own go.
    """
    with log.open("a") if log else nullcontext() as stderr, output.open("a") if output else nullcontext() as stdout:
        popen = preloaded.Popen if arguments[:1] == ("worker",) else subprocess.Popen
        process = popen(
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


def eventually(condition: Callable[[], object], what: str, seconds: float = LIMIT_SECONDS, pause: float = 0.05) -> None:
    """Wait until the condition holds; fail, naming `what` did not happen, if it does not hold within the limit."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} seconds: {what}"
        time.sleep(pause)
