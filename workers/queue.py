"""The queue between the API and the workers: the one door that the API uses. Imports no torch.

A message is the news that rows exist: it carries job ids and nothing else. Losing one costs seconds (the reconciler
sends it again), receiving one twice costs nothing.
"""

import json
import logging
import time
import uuid
from collections.abc import Sequence
from functools import lru_cache

from kombu.exceptions import KombuError, OperationalError
from redis import Redis, RedisError

from db.vocabulary import JobKind, QueueName
from pagewright.settings import get_settings
from workers.celery_app import app

log = logging.getLogger(__name__)

JOBS_PER_MESSAGE = 16
"""A batch's generations travel together: one message, one claim and one commit then serve many of them."""

WORKER_EXPIRY_SECONDS = 15.0
"""A worker that has not announced itself for so long counts as gone."""

_BREAK_SECONDS = 2.0
_broken_until = 0.0


def publish(kind: JobKind, job_ids: Sequence[uuid.UUID]) -> bool:
    """Send the news of queued jobs. False if the queue can't be reached: the reconciler will send it later.

    After a failure nothing is tried for two seconds, so that requests do not each wait for a Redis that hangs.
    """
    global _broken_until
    if time.monotonic() < _broken_until:
        return False
    together = JOBS_PER_MESSAGE if kind == JobKind.GENERATION else 1
    try:
        with app.producer_or_acquire(None) as producer:
            for start in range(0, len(job_ids), together):
                ids = job_ids[start : start + together]
                app.send_task(
                    kind.value,
                    args=[[str(job_id) for job_id in ids]],
                    queue=kind.queue.value,
                    headers={"job_id": str(ids[0])},
                    producer=producer,
                    retry=False,
                )
    except (OperationalError, KombuError, RedisError, OSError) as error:
        _broken_until = time.monotonic() + _BREAK_SECONDS
        log.warning("could not publish %d %s jobs, the reconciler will: %r", len(job_ids), kind.value, error)
        return False
    return True


def oldest_message(name: QueueName) -> uuid.UUID | None:
    """The first job of the message that has waited longest; None if the queue is empty. Raises RedisError."""
    message = _redis().lindex(name.value, -1)
    return None if message is None else uuid.UUID(json.loads(message)["headers"]["job_id"])


def announce(worker: str, queues: Sequence[QueueName]) -> None:
    """Say that a worker is alive and serves these queues. Raises RedisError."""
    moment = time.time()
    pipeline = _redis().pipeline()
    for name in queues:
        pipeline.zadd(_workers_key(name), {worker: moment})
        pipeline.zremrangebyscore(_workers_key(name), 0, moment - 10 * WORKER_EXPIRY_SECONDS)
    pipeline.execute()


def withdraw(worker: str, queues: Sequence[QueueName]) -> None:
    """Say that a worker no longer serves these queues. Raises RedisError."""
    for name in queues:
        _redis().zrem(_workers_key(name), worker)


def live_workers() -> dict[QueueName, int]:
    """How many workers serve each queue. Raises RedisError."""
    since = time.time() - WORKER_EXPIRY_SECONDS
    return {name: int(_redis().zcount(_workers_key(name), since, "+inf")) for name in QueueName}


def _workers_key(name: QueueName) -> str:
    return f"pagewright:workers:{name.value}"


@lru_cache
def _redis() -> Redis:
    return Redis.from_url(get_settings().redis_url, socket_connect_timeout=2, socket_timeout=5)
