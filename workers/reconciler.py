"""Finds what was lost and sends it again. Runs in every worker; running it twice at once does no harm."""

import logging
import math

from db import job_transitions
from db.queries import jobs
from db.session import Database, now
from db.vocabulary import JobKind, JobStatus
from pagewright.logging import log_fields
from pagewright.telemetry import RECONCILED
from workers import queue
from workers.leases import count_ended, publish_requeued

log = logging.getLogger(__name__)


class Reconciler:
    """One pass each time it is called.

    Leases that ran out while the database was away, or while this machine slept, say nothing about their workers: when
    it is back they have `settle_seconds` to extend them, before any is taken from them.
    """

    def __init__(
        self, database: Database, *, grace_seconds: float, lease_seconds: float, settle_seconds: float
    ) -> None:
        self._database = database
        self._grace_seconds = grace_seconds
        self._gap_seconds = lease_seconds / 2  # in less, no lease runs out of a worker that was well before
        self._settle_seconds = settle_seconds
        self._answered = self._since = -math.inf

    def __call__(self) -> None:
        with self._database.read() as session:
            moment = now(session).timestamp()  # the clock of the leases; the monotonic one stands still in a suspend
        if moment - self._answered > self._gap_seconds:
            self._since = moment
        self._answered = moment
        settled = moment - self._since >= self._settle_seconds
        reconcile(self._database, self._grace_seconds, expire=settled)


def reconcile(database: Database, grace_seconds: float, *, expire: bool = True) -> None:
    """Lost messages are sent again, and with `expire` the jobs of expired leases go back to their queue.

    Raises what the database or Redis raises when they can't be reached; the next pass finds the same again.
    """
    if expire:
        _requeue_expired(database)
    for kind in JobKind:
        oldest = queue.oldest_message(kind.queue)
        with database.write() as session:
            lost = jobs.take_lost(session, kind, oldest_message=oldest, grace_seconds=grace_seconds)
        if lost:
            RECONCILED.labels("resent", kind).inc(len(lost))
            with log_fields(job_ids=[str(job_id) for job_id in lost]):
                log.warning("%d %s jobs had lost their message; sent again", len(lost), kind.value)
                queue.publish(kind, lost)


def _requeue_expired(database: Database) -> None:
    with database.write() as session:
        expired = job_transitions.requeue_expired(session)
    for job in expired:
        requeued = job.status == JobStatus.QUEUED
        RECONCILED.labels("requeued" if requeued else job.status, job.kind).inc()
        with log_fields(job_id=str(job.job_id), attempt=job.attempt):
            log.warning("job %s: its worker fell silent; %s", job.job_id, "queued again" if requeued else job.status)
    publish_requeued(expired)
    count_ended(expired)
