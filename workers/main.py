"""One worker process: Celery takes the messages, the runtime keeps the leases."""

import logging
import warnings
from typing import Any

from celery import signals
from celery.exceptions import SecurityWarning
from transformers.utils.logging import disable_progress_bar

from models.pool import ModelPool
from settings import get_settings
from workers import runtime
from workers.app import app
from workers.runtime import QUEUES, WorkerRole

log = logging.getLogger(__name__)


def run(role: WorkerRole, pool: ModelPool | None = None) -> int:
    """Work until SIGTERM or SIGINT, then end in order; a second SIGINT ends at once. Returns the exit status.

    Threads, since an inference worker's jobs share one engine and mostly wait for it.
    """
    settings = get_settings()
    process = runtime.start(role, pool)

    def begin_drain(**_: Any) -> None:
        process.drain()

    def announce_ready(**_: Any) -> None:
        log.info("worker %s serves %s", process.worker, ", ".join(QUEUES[role]))

    disable_progress_bar()  # a log is no terminal
    # Celery warns root of pickled messages; these workers accept JSON alone.
    warnings.simplefilter("ignore", SecurityWarning)
    signals.worker_shutting_down.connect(begin_drain)
    signals.worker_ready.connect(announce_ready)
    worker = app.Worker(
        hostname=process.worker.replace(":", "-") + "@%h",
        pool="threads",
        concurrency=settings.inference_concurrency,
        queues=[kind.value for kind in QUEUES[role]],
        loglevel=settings.log_level,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    process.stop()
    return int(worker.exitcode or 0)
