"""The queue between the API and the workers. The API imports this module and no other of the workers. Imports no torch.

A message contains the ids of queued jobs and nothing else. If it is lost, the reconciler sends it again after a few
seconds. If it is delivered twice, the second delivery has no effect.
"""

import logging
import time
import uuid
from collections.abc import Sequence

from kombu.exceptions import KombuError, OperationalError
from redis import RedisError

from db.vocabulary import JobKind, QueueName
from workers.celery_app import app
from workers.redis_keys import client, first_job_id, key, set_aside

log = logging.getLogger(__name__)

JOBS_PER_MESSAGE = 16
"""Generations of a batch share messages, so one claim and one commit serve many jobs. Other jobs get one each."""

WORKER_EXPIRY_SECONDS = 15.0
"""A worker counts as dead when it has not announced itself for this long."""

_PAUSE_SECONDS = 2.0
_paused_until = 0.0


def publish(kind: JobKind, job_ids: Sequence[uuid.UUID]) -> bool:
    """Send messages for queued jobs. Returns False if Redis can't be reached; the reconciler then sends them later.

    After a failure no message is sent for two seconds, so that not every request waits for a Redis that hangs.
    """
    global _paused_until
    if time.monotonic() < _paused_until:
        return False
    size = JOBS_PER_MESSAGE if kind == JobKind.GENERATION else 1
    try:
        with app.producer_or_acquire(None) as producer:
            for start in range(0, len(job_ids), size):
                ids = job_ids[start : start + size]
                app.send_task(
                    kind.value,
                    args=[[str(job_id) for job_id in ids]],
                    queue=kind.queue.value,
                    headers={"job_id": str(ids[0])},
                    producer=producer,
                    retry=False,
                )
    except (OperationalError, KombuError, RedisError, OSError) as error:
        _paused_until = time.monotonic() + _PAUSE_SECONDS
        log.warning("%d %s jobs could not be published, the reconciler will do it: %r", len(job_ids), kind.value, error)
        return False
    return True


def oldest_message(name: QueueName) -> uuid.UUID | None:
    """Return the first job id of the oldest message, or None if the queue is empty. Raises RedisError.

    Messages of other programs that are older are taken off the queue and set aside.
    """
    while isinstance(message := client().lindex(key(name.value), -1), bytes):
        if job_id := first_job_id(message):
            return job_id
        if client().lrem(key(name.value), -1, message):  # type: ignore[arg-type]  # redis-py takes bytes too
            set_aside(name.value, message)
    return None


def announce(worker: str, queues: Sequence[QueueName]) -> None:
    """Record that a worker is alive and serves these queues. Raises RedisError."""
    moment = time.time()
    pipeline = client().pipeline()
    for name in queues:
        pipeline.zadd(_workers_key(name), {worker: moment})
        pipeline.zremrangebyscore(_workers_key(name), 0, moment - 10 * WORKER_EXPIRY_SECONDS)
    pipeline.execute()


def withdraw(worker: str, queues: Sequence[QueueName]) -> None:
    """Record that a worker no longer serves these queues. Raises RedisError."""
    for name in queues:
        client().zrem(_workers_key(name), worker)


def live_workers() -> dict[QueueName, int]:
    """Return the number of live workers of each queue. Raises RedisError."""
    since = time.time() - WORKER_EXPIRY_SECONDS
    return {name: int(client().zcount(_workers_key(name), since, "+inf")) for name in QueueName}


def _workers_key(name: QueueName) -> str:
    return key(f"workers:{name.value}")
