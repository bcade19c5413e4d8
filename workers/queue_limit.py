"""A limit on how many jobs of one queue a worker runs at once. The other jobs stay in the queue."""

from typing import Any

from celery import signals

from db.vocabulary import JobKind, QueueName
from workers.leases import Leases


class QueueLimit:
    """Stops receiving messages of a queue while `limit` of its jobs run.

    Evaluations need it: each occupies a thread for a long time, and generations need threads too.
    """

    def __init__(self, queue: QueueName, limit: int, leases: Leases) -> None:
        self._queue = queue.value
        self._tasks = {kind.value for kind in JobKind if kind.queue == queue}
        self._limit = limit
        self._leases = leases
        self._running: set[str] = set()
        self._consumer: Any = None

    def apply(self) -> None:
        signals.task_received.connect(self._received, weak=False)
        signals.task_postrun.connect(self._done, weak=False)

    def _received(self, sender: Any, request: Any, **_: Any) -> None:
        """Runs on the consumer's thread, so that no further message is received meanwhile."""
        if request.name in self._tasks:
            self._consumer = sender
            self._running.add(request.id)
            if len(self._running) >= self._limit:
                sender.cancel_task_queue(self._queue)

    def _done(self, task_id: str, **_: Any) -> None:
        if task_id in self._running:
            self._running.remove(task_id)
            if not self._leases.draining:
                self._consumer.call_soon(self._consumer.add_task_queue, self._queue)
