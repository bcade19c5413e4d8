"""Finds what was lost and sends it again. Runs in every worker; running it twice at once does no harm."""

import logging

import logs
from counters import RECONCILED
from db import jobs, lifecycle
from db.session import Database
from db.vocabulary import JobKind, JobStatus
from workers import queue
from workers.lifecycle import count_ended, publish_requeued

log = logging.getLogger(__name__)


def reconcile(database: Database, grace_seconds: float) -> None:
    """One pass: expired leases go back to their queue, and lost messages are sent again.

    Raises what the database or Redis raises when they can't be reached; the next pass finds the same again.
    """
    with database.write() as session:
        expired = lifecycle.requeue_expired(session)
    for job in expired:
        requeued = job.status == JobStatus.QUEUED
        RECONCILED.labels("requeued" if requeued else job.status, job.kind).inc()
        with logs.about(job_id=str(job.job_id), attempt=job.attempt):
            log.warning("job %s: its worker fell silent; %s", job.job_id, "queued again" if requeued else job.status)
    publish_requeued(expired)
    count_ended(expired)

    for kind in JobKind:
        oldest = queue.oldest_message(kind.queue)
        with database.write() as session:
            lost = jobs.take_lost(session, kind, oldest_message=oldest, grace_seconds=grace_seconds)
        if lost:
            RECONCILED.labels("resent", kind).inc(len(lost))
            with logs.about(job_ids=[str(job_id) for job_id in lost]):
                log.warning("%d %s jobs had lost their message; sent again", len(lost), kind.value)
                queue.publish(kind, lost)
