"""The entry point of a worker process: Celery receives messages, the runtime keeps leases."""

import logging
import pkgutil
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning

from db.vocabulary import FINAL_STATUSES, JobKind, QueueName
from pagewright.logging import adopt_libraries
from pagewright.settings import Settings, get_settings
from pagewright.telemetry import start_series
from workers import runtime, telemetry
from workers.celery_app import app
from workers.queue_limit import QueueLimit
from workers.roles import WorkerRole
from workers.runtime import Runtime

if TYPE_CHECKING:
    from models.serving.pool import ModelPool

log = logging.getLogger(__name__)

PACKAGES = {WorkerRole.INFERENCE: "workers.inference", WorkerRole.BUILD: "workers.builds"}


def run(role: WorkerRole, pool: "ModelPool | None" = None) -> int:
    """Run a worker until SIGTERM or SIGINT, then shut it down in order. Returns the exit status.

    A second SIGINT ends the process at once. `pool` replaces the default model pool of an inference worker.

    Jobs run in threads: those of an inference worker share engines and mostly wait for them, and those of a build
    worker wait for their processes.
    """
    settings = get_settings()
    pool = (pool or _model_pool(settings)) if role == WorkerRole.INFERENCE else None
    start_series(JobKind, FINAL_STATUSES)
    process = runtime.start(role, pool)
    import_tasks(role)
    adopt_libraries()
    if settings.worker_metrics_port:
        telemetry.serve(settings.host, settings.worker_metrics_port, pool)
    if role == WorkerRole.INFERENCE:
        QueueLimit(QueueName.EVALUATION, settings.evaluation_concurrency, process.leases).apply()
        QueueLimit(QueueName.PULL, 1, process.leases).apply()
        _start_preloading(process)
    worker = _celery_worker(process)
    worker.start()
    process.stop()
    return int(worker.exitcode or 0)


def import_tasks(role: WorkerRole) -> None:
    """Import all modules of the role's package, which defines the Celery tasks in them.

    Only the role's own package is imported, since a build worker must not load torch.
    """
    package = import_module(PACKAGES[role])
    for module in pkgutil.iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")


def _celery_worker(process: Runtime) -> Any:
    settings, role = process.settings, process.role

    def keep_logging_configuration(**_: Any) -> None:
        """Celery configures logging itself unless this signal has a receiver."""

    def drain(**_: Any) -> None:
        process.drain()

    def log_ready(**_: Any) -> None:
        log.info("worker %s serves the queues %s", process.worker, ", ".join(role.queues))

    # Celery warns against running as root when it accepts pickled messages. These workers accept only JSON.
    warnings.simplefilter("ignore", SecurityWarning)
    # Celery warns after each lost connection that tasks acknowledged late will be cancelled. These are not.
    warnings.simplefilter("ignore", CPendingDeprecationWarning)
    signals.setup_logging.connect(keep_logging_configuration, weak=False)
    signals.worker_shutting_down.connect(drain, weak=False)
    signals.worker_ready.connect(log_ready, weak=False)
    return app.Worker(
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


def _start_preloading(process: Runtime) -> None:
    from workers.inference.preloading import start_preloading  # it loads torch, which a build worker must not load

    start_preloading(process)


def _model_pool(settings: Settings) -> "ModelPool":
    from transformers.utils.logging import disable_progress_bar

    from models.serving.pool import ModelPool

    disable_progress_bar()  # progress bars are not readable in a log
    return ModelPool(settings.model_memory_bytes, context_length=settings.context_length)
