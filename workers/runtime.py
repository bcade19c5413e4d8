"""The state of one worker process: database, leases, loaded models, and the threads of its periodic tasks."""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from redis import RedisError

from db.session import UNREACHABLE, Database, get_database
from pagewright.artifacts import get_artifacts
from pagewright.redis_connection import describe
from pagewright.settings import Settings, get_settings
from pagewright.work_folders import remove_abandoned
from workers import queue
from workers.leases import Interrupt, Leases
from workers.reconciler import Reconciler
from workers.roles import WorkerRole
from workers.sweeper import sweep

if TYPE_CHECKING:  # a build worker must not load torch
    from models.serving.pool import ModelPool

log = logging.getLogger(__name__)

ANNOUNCE_SECONDS = queue.WORKER_EXPIRY_SECONDS / 3
SWEEP_SECONDS = 600.0


class Runtime:
    def __init__(self, settings: Settings, database: Database, role: WorkerRole, pool: "ModelPool | None") -> None:
        """`pool` is None for a build worker, whose models are loaded in separate processes."""
        self.settings = settings
        self.database = database
        self.artifacts = get_artifacts()
        self.role = role
        self._pool = pool
        # Unique for each process, so that a restarted worker is not mistaken for the one that died.
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self.leases = Leases(database, self.worker, settings.lease_seconds)
        self._stopped = threading.Event()

    @property
    def pool(self) -> "ModelPool":
        if self._pool is None:
            raise RuntimeError(f"a {self.role.value} worker loads no models")
        return self._pool

    @property
    def work_folders(self) -> Path:
        return self.settings.data_dir / "work"

    def start(self) -> None:
        self._every(self.settings.heartbeat_seconds, "heartbeat", self.leases.heartbeat)
        self._every(
            self.settings.reconcile_seconds,
            "reconciler",
            Reconciler(
                self.database,
                grace_seconds=self.settings.lost_message_seconds,
                lease_seconds=self.settings.lease_seconds,
                settle_seconds=2 * self.settings.heartbeat_seconds,
            ),
        )
        self._every(ANNOUNCE_SECONDS, "announcer", lambda: queue.announce(self.worker, self.role.queues))
        if self.role == WorkerRole.BUILD:
            self._every(SWEEP_SECONDS, "sweeper", self._sweep)

    def drain(self) -> None:
        """Take no new jobs. After the grace period, interrupt the running ones, which are then given back.

        Build jobs are interrupted at once: they take longer than any grace period.
        """
        self.leases.draining = True
        seconds = 0.0 if self.role == WorkerRole.BUILD else self.settings.shutdown_grace_seconds
        grace = threading.Timer(seconds, self.leases.interrupt_all, [Interrupt.SHUTDOWN])
        grace.daemon = True
        grace.start()

    def stop(self) -> None:
        self._stopped.set()
        try:
            queue.withdraw(self.worker, self.role.queues)
        except RedisError as error:
            log.warning("the worker could not be removed from the list of live workers: %r", error)
        if self._pool:
            self._pool.close()

    def _sweep(self) -> None:
        remove_abandoned(self.work_folders)
        sweep(self.database, self.artifacts)

    def _every(self, seconds: float, name: str, function: Callable[[], None]) -> None:
        def loop() -> None:
            while True:
                try:
                    function()
                except UNREACHABLE:
                    log.warning("%s: the database does not answer", name)
                except RedisError as error:
                    log.warning("%s: %s", name, describe(error))
                except Exception:
                    log.exception("%s failed, it will run again", name)
                if self._stopped.wait(seconds):
                    return

        threading.Thread(target=loop, name=name, daemon=True).start()


_runtime: Runtime | None = None


def start(role: WorkerRole, pool: "ModelPool | None") -> Runtime:
    """Create and start the runtime of this process."""
    global _runtime
    _runtime = Runtime(get_settings(), get_database(), role, pool)
    _runtime.start()
    return _runtime


def get_runtime() -> Runtime:
    if _runtime is None:
        raise RuntimeError("this process is not a worker")
    return _runtime
