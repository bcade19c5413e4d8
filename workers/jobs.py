"""How a worker runs the jobs of a message. Each kind of job is one function with the decorator `job`."""

import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Protocol

from db.vocabulary import ErrorType, JobKind, QueueName
from models.loading.hub import HubUnreachable
from models.serving.engine import EngineFailed, RequestError
from models.tasks.errors import TaskError
from models.tasks.reports import Outcome
from pagewright.settings import Settings
from workers import queue
from workers.celery_app import app
from workers.leases import Lease, Leases, job_log_fields
from workers.runtime import Runtime, get_runtime

log = logging.getLogger(__name__)

ERROR_TYPES = {
    Outcome.INVALID: ErrorType.INVALID_REQUEST,
    Outcome.MODEL_UNAVAILABLE: ErrorType.MODEL_UNAVAILABLE,
    Outcome.DIVERGED: ErrorType.DIVERGED,
    Outcome.OUT_OF_MEMORY: ErrorType.OUT_OF_MEMORY,
}
"""The error type of a job, by the outcome of the `TaskError` that failed it."""

Work = Callable[[Runtime, list[Lease]], None]
"""Does the work of claimed jobs and ends them. If it raises, `end_on_error` ends the jobs that it has not ended."""


class RunJobs(Protocol):
    def __call__(self, runtime: Runtime, *job_ids: uuid.UUID) -> None: ...


class AttemptFailed(RuntimeError):
    """An attempt at a job failed for a reason outside of the job, so another attempt may succeed."""


def job(kind: JobKind, before_claim: Callable[[Runtime], None] = lambda _: None) -> Callable[[Work], RunJobs]:
    """Make a function the Celery task for a kind of job.

    The function gets the leases of those jobs of a message that this worker has claimed: up to 16 generations, or one
    job of another kind. The decorated function takes a runtime and job ids. `before_claim` may wait until the worker
    can run a job.
    """

    def decorate(work: Work) -> RunJobs:
        @wraps(work)
        def run(runtime: Runtime, *job_ids: uuid.UUID) -> None:
            before_claim(runtime)
            _run(runtime, kind, job_ids, work)

        @app.task(name=kind.value)
        def task(job_ids: list[str]) -> None:
            run(get_runtime(), *map(uuid.UUID, job_ids))

        return run

    return decorate


def _run(runtime: Runtime, kind: JobKind, job_ids: Sequence[uuid.UUID], work: Work) -> None:
    if runtime.leases.draining:
        queue.publish(kind, job_ids)
        return
    leases = runtime.leases.claim(job_ids, _time_limit_seconds(runtime.settings, kind))
    if leases:
        with job_log_fields(leases), end_on_error(runtime.leases, leases):
            work(runtime, leases)


def _time_limit_seconds(settings: Settings, kind: JobKind) -> float:
    limits = {
        QueueName.GENERATION: settings.generation_time_limit_seconds,
        QueueName.EVALUATION: settings.evaluation_time_limit_seconds,
        QueueName.PULL: settings.build_time_limit_seconds,
        QueueName.BUILDS: settings.build_time_limit_seconds,
    }
    return limits[kind.queue]


@contextmanager
def end_on_error(leases: Leases, jobs: Sequence[Lease]) -> Iterator[None]:
    """If the block raises, fail or requeue those of the jobs that it has not ended, and log the error."""
    try:
        yield
    except RequestError as error:
        leases.fail(_held(leases, jobs), ErrorType.INVALID_REQUEST, str(error))
    except TaskError as error:
        leases.fail(_held(leases, jobs), ERROR_TYPES[error.outcome], str(error))
    except (AttemptFailed, EngineFailed, HubUnreachable) as error:
        leases.requeue(_held(leases, jobs), str(error))
    except Exception as error:
        # An unexpected error must not leave jobs running until their leases expire.
        log.exception("the jobs are queued again after an unexpected error")
        leases.requeue(_held(leases, jobs), f"{type(error).__name__}: {error}")


def _held(leases: Leases, jobs: Sequence[Lease]) -> list[Lease]:
    held = leases.held()
    return [lease for lease in jobs if lease in held]
