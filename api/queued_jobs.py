"""What a job waits for: Redis, a worker or other jobs while it is queued, and its model while that is loading."""

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from redis import RedisError

from api.dependencies import DatabaseDep
from api.schemas.jobs import LOADING, JobOut
from db.queries import jobs
from db.session import Database
from db.vocabulary import JobStatus, QueueName
from workers import queue

log = logging.getLogger(__name__)

Representation = TypeVar("Representation", bound=JobOut)

SHORT_WAIT = timedelta(seconds=1)
"""How long a job is queued before its answer says why. Most are claimed sooner."""

REFRESH_SECONDS = 2.0
ANSWER_SECONDS = 0.5
"""How long the answers about jobs wait for Redis, in each period of REFRESH_SECONDS."""

COUNT_LIMIT = 1000
"""The most jobs that are counted."""


class LiveWorkers:
    """The number of live workers of each queue. It is read every REFRESH_SECONDS at most, however many clients poll."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "live workers")
        self._lock = threading.Lock()
        self._latest: Future[dict[QueueName, int]] | None = None
        self._since = 0.0

    def get(self) -> Mapping[QueueName, int] | None:
        """Return the numbers, or None if Redis does not answer."""
        with self._lock:
            latest = self._latest
            if latest is None or (latest.done() and time.monotonic() - self._since > REFRESH_SECONDS):
                self._since = time.monotonic()
                latest = self._latest = self._executor.submit(queue.live_workers)
        try:
            return latest.result(timeout=max(0.0, self._since + ANSWER_SECONDS - time.monotonic()))
        except (TimeoutError, RedisError, OSError) as error:
            log.debug("the live workers are unknown: %r", error)
            return None

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


class QueuedJobs:
    """Adds to the answer about a job what it waits for."""

    def __init__(self, database: Database, workers: LiveWorkers) -> None:
        self._database = database
        self._workers = workers

    def explain(self, job: Representation) -> Representation:
        """Return the representation of a job, with `waiting_for` if the job has been queued for some time or if its
        model is loading."""
        if job.waiting_for == LOADING:
            return job.model_copy(update={"waiting_for": self._loading(job)})
        if job.status != JobStatus.QUEUED or datetime.now(UTC) - job.created_at < SHORT_WAIT:
            return job
        return job.model_copy(update={"waiting_for": self._reason(job)})

    def _loading(self, job: JobOut) -> str | None:
        with self._database.read() as session:
            seconds = jobs.loading_seconds(session, job.id)
        return None if seconds is None else f"The model is loading, for {seconds:,.0f} s so far."

    def _reason(self, job: JobOut) -> str | None:
        name = job.kind.queue
        workers = self._workers.get()
        if workers is None:
            return "Redis can't be reached. The job is kept, and will be sent to a worker when Redis answers again."
        if not workers[name]:
            return f"No live worker serves the queue `{name}`. The job runs when one is started."
        with self._database.read() as session:
            before = jobs.before(session, job.id, name, at_most=COUNT_LIMIT + 1)
        if before is None:
            return None  # claimed or cancelled meanwhile
        if before.queued:
            return f"{_count(before.queued, 'earlier job')} in the queue `{name}`."
        if before.running:
            return f"{_count(before.running, 'running job')} of the queue `{name}`; this one is next."
        return f"A worker of the queue `{name}` will start the job shortly."


def _count(count: int, noun: str) -> str:
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}s" if count <= COUNT_LIMIT else f"More than {COUNT_LIMIT:,} {noun}s"


async def _queued_jobs(request: Request, database: DatabaseDep) -> QueuedJobs:
    return QueuedJobs(database, request.app.state.live_workers)


QueuedJobsDep = Annotated[QueuedJobs, Depends(_queued_jobs)]
