"""What one worker process holds: its database, its leases, its loaded models, and the threads that keep time."""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from enum import StrEnum

from redis import RedisError
from sqlalchemy.exc import OperationalError

from artifacts import get_artifacts
from db.session import Database, get_database
from db.tables import JobKind
from models.pool import ModelPool
from settings import Settings, get_settings
from workers import queue
from workers.lifecycle import Interrupt, Leases
from workers.reconciler import reconcile

log = logging.getLogger(__name__)

ANNOUNCE_SECONDS = queue.WORKER_EXPIRY_SECONDS / 3


class WorkerRole(StrEnum):
    INFERENCE = "inference"


QUEUES: dict[WorkerRole, list[JobKind]] = {WorkerRole.INFERENCE: [JobKind.GENERATION]}


class Runtime:
    def __init__(self, settings: Settings, database: Database, pool: ModelPool, kinds: Sequence[JobKind]) -> None:
        self.settings = settings
        self.database = database
        self.artifacts = get_artifacts()
        self.pool = pool
        self.kinds = kinds
        # Unique per process: a worker that starts anew must not be taken for the one that died.
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self.leases = Leases(database, self.worker, settings.lease_seconds)
        self._stopped = threading.Event()

    def start(self) -> None:
        self._every(self.settings.heartbeat_seconds, "heartbeat", self.leases.heartbeat)
        self._every(
            self.settings.reconcile_seconds,
            "reconciler",
            lambda: reconcile(self.database, self.settings.lost_message_seconds),
        )
        self._every(ANNOUNCE_SECONDS, "announcer", lambda: queue.announce(self.worker, self.kinds))

    def drain(self) -> None:
        """Take no new job; after the grace period, stop those still running so that they are given back."""
        self.leases.draining = True
        grace = threading.Timer(self.settings.shutdown_grace_seconds, self.leases.interrupt_all, [Interrupt.SHUTDOWN])
        grace.daemon = True
        grace.start()

    def stop(self) -> None:
        self._stopped.set()
        try:
            queue.withdraw(self.worker, self.kinds)
        except RedisError as error:
            log.warning("could not sign off: %r", error)
        self.pool.close()

    def _every(self, seconds: float, name: str, function: Callable[[], None]) -> None:
        def loop() -> None:
            while True:
                try:
                    function()
                except (OperationalError, RedisError) as error:
                    log.warning(
                        "%s: %s does not answer", name, "Redis" if isinstance(error, RedisError) else "database"
                    )
                except Exception:
                    log.exception("%s failed; it goes on", name)
                if self._stopped.wait(seconds):
                    return

        threading.Thread(target=loop, name=name, daemon=True).start()


_runtime: Runtime | None = None


def start(role: WorkerRole, pool: ModelPool | None = None) -> Runtime:
    """Make and start this process's runtime; `pool` takes the place of one that loads models."""
    global _runtime
    settings = get_settings()
    if pool is None:
        pool = ModelPool(memory_budget_bytes=settings.model_memory_bytes)
    _runtime = Runtime(settings, get_database(), pool, QUEUES[role])
    _runtime.start()
    return _runtime


def get_runtime() -> Runtime:
    if _runtime is None:
        raise RuntimeError("this process is not a worker")
    return _runtime
