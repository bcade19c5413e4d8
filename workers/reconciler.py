"""Requeues jobs whose worker died, and sends lost messages again. Runs in every worker, at the same time safely."""

import logging
import math

from db import job_transitions
from db.queries import jobs
from db.session import Database, now
from db.vocabulary import JobKind, JobStatus
from pagewright.logging import log_fields
from pagewright.telemetry import RECONCILED
from workers import queue
from workers.leases import publish_requeued

log = logging.getLogger(__name__)


class Reconciler:
    """Reconciles each time it is called.

    Leases also expire when the database is down or this machine is suspended, although their workers are alive. After
    such a gap, expired leases are left alone for `settle_seconds`, so that the workers can extend them.
    """

    def __init__(
        self, database: Database, *, grace_seconds: float, lease_seconds: float, settle_seconds: float
    ) -> None:
        self._database = database
        self._grace_seconds = grace_seconds
        self._gap_seconds = lease_seconds / 2  # in a shorter gap no lease of a live worker expires
        self._settle_seconds = settle_seconds
        self._last_pass = self._settling_since = -math.inf

    def __call__(self) -> None:
        with self._database.read() as session:
            moment = now(session).timestamp()  # leases use this clock; a monotonic one stops during a suspend
        if moment - self._last_pass > self._gap_seconds:
            self._settling_since = moment
        self._last_pass = moment
        settled = moment - self._settling_since >= self._settle_seconds
        reconcile(self._database, self._grace_seconds, expire=settled)


def reconcile(database: Database, grace_seconds: float, *, expire: bool = True) -> None:
    """Send lost messages again, and with `expire` requeue the jobs whose lease has expired.

    Raises the database's or Redis' error if one of them can't be reached. The next call then finds the same jobs.
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
                log.warning("%d %s jobs have lost their message, which is sent again", len(lost), kind.value)
                queue.publish(kind, lost)


def _requeue_expired(database: Database) -> None:
    with database.write() as session:
        expired = job_transitions.requeue_expired(session)
    for job in expired:
        requeued = job.status == JobStatus.QUEUED
        RECONCILED.labels("requeued" if requeued else job.status, job.kind).inc()
        with log_fields(job_id=str(job.job_id), attempt=job.attempt):
            log.warning(
                "job %s: the worker stopped extending its lease, the job is now %s", job.job_id, job.status.value
            )
    publish_requeued(expired)
