"""One worker process: Celery takes the messages, the runtime keeps the leases."""

import importlib
import logging
import warnings
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.exceptions import SecurityWarning

from db.vocabulary import FINAL_STATUSES, JobKind, QueueName
from pagewright.logging import adopt_libraries
from pagewright.settings import Settings, get_settings
from pagewright.telemetry import start_series
from workers import runtime, telemetry
from workers.celery_app import app
from workers.roles import WorkerRole

if TYPE_CHECKING:
    from models.serving.pool import ModelPool

log = logging.getLogger(__name__)

TASKS = {
    WorkerRole.INFERENCE: ["workers.inference.generation", "workers.inference.evaluation"],
    WorkerRole.BUILD: ["workers.builds.fine_tune", "workers.builds.merge", "workers.builds.quantization"],
}
"""Imported for the role that runs them alone: a build worker has no need of torch."""


def run(role: WorkerRole, pool: "ModelPool | None" = None) -> int:
    """Work until SIGTERM or SIGINT, then end in order; a second SIGINT ends at once. Returns the exit status.

    Threads, since an inference worker's jobs share one engine and mostly wait for it, and a build worker waits for
    the process that trains. `pool` takes the place of one that loads models.
    """
    settings = get_settings()
    pool = (pool or _model_pool(settings)) if role == WorkerRole.INFERENCE else None
    start_series(JobKind, FINAL_STATUSES)
    process = runtime.start(role, pool)
    for module in TASKS[role]:
        importlib.import_module(module)
    adopt_libraries()
    if settings.worker_metrics_port:
        telemetry.serve(settings.host, settings.worker_metrics_port, pool)

    if role == WorkerRole.INFERENCE:
        _hold_evaluations_to(settings.evaluation_concurrency)

    def leave_logging_alone(**_: Any) -> None:
        """Celery sets it up unless somebody is connected to its signal."""

    def begin_drain(**_: Any) -> None:
        process.drain()

    def announce_ready(**_: Any) -> None:
        log.info("worker %s serves %s", process.worker, ", ".join(role.queues))

    # Celery warns root of pickled messages; these workers accept JSON alone.
    warnings.simplefilter("ignore", SecurityWarning)
    signals.setup_logging.connect(leave_logging_alone)
    signals.worker_shutting_down.connect(begin_drain)
    signals.worker_ready.connect(announce_ready)
    worker = app.Worker(
        hostname=process.worker.replace(":", "-") + "@%h",
        pool="threads",
        concurrency=settings.inference_concurrency if role == WorkerRole.INFERENCE else 1,
        queues=[name.value for name in role.queues],
        loglevel=settings.log_level,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    process.stop()
    return int(worker.exitcode or 0)


def _hold_evaluations_to(limit: int) -> None:
    """Take no more evaluations than may run at once: each keeps a thread until it is done, and generations need some.

    The others stay in the queue, for another worker or for later.
    """
    running: set[str] = set()
    consumer: Any = None

    def received(sender: Any, request: Any, **_: Any) -> None:  # on the consumer's own thread
        nonlocal consumer
        if request.name == JobKind.EVALUATION:
            consumer = sender
            running.add(request.id)
            if len(running) >= limit:
                consumer.cancel_task_queue(QueueName.EVALUATION.value)

    def done(task_id: str, **_: Any) -> None:
        if task_id in running:
            running.remove(task_id)
            if not runtime.get_runtime().leases.draining:
                consumer.call_soon(consumer.add_task_queue, QueueName.EVALUATION.value)

    signals.task_received.connect(received, weak=False)
    signals.task_postrun.connect(done, weak=False)


def _model_pool(settings: Settings) -> "ModelPool":
    from transformers.utils.logging import disable_progress_bar

    from models.serving.pool import ModelPool

    disable_progress_bar()  # a log is no terminal
    return ModelPool(memory_budget_bytes=settings.model_memory_bytes)
