"""The leases of one worker process: claiming jobs, keeping them, and ending them.

The SQL statements are in `db.job_transitions`.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from functools import partial
from typing import TypeVar

from sqlalchemy.orm import Session

from db import job_transitions
from db.job_transitions import Claim, Requeued
from db.session import Database
from db.vocabulary import ErrorType, JobKind, JobStatus
from pagewright.logging import log_fields
from pagewright.telemetry import ATTEMPTS_FAILED, CLAIM_SECONDS, JOBS_ENDED, LEASES_LOST
from workers import queue
from workers.retrying import STORE_RETRY_SECONDS, retry_database

log = logging.getLogger(__name__)

T = TypeVar("T")

Write = Callable[[Session, set[uuid.UUID]], None]
"""Stores the results of the jobs with these ids. Runs in the transaction that ends the jobs."""


class Interrupt(StrEnum):
    """Why work on a claimed job has to stop early."""

    CANCELLED = "cancelled"
    LEASE_LOST = "lease lost"
    TIME_LIMIT = "time limit"
    SHUTDOWN = "shutdown"

    @property
    def ends_job(self) -> bool:
        """True if the job ends now, False if it continues on another worker."""
        return self in (Interrupt.CANCELLED, Interrupt.TIME_LIMIT)


class Lease:
    """A process's right to work on a job until it ends the job or is interrupted. Only the first interrupt counts."""

    def __init__(self, claim: Claim, time_limit_seconds: float) -> None:
        self.claim = claim
        self.time_limit_seconds = time_limit_seconds
        self.deadline = time.monotonic() + time_limit_seconds
        self.interrupted: Interrupt | None = None
        self._stop: Callable[[], object] | None = None
        self._lock = threading.Lock()

    @property
    def job_id(self) -> uuid.UUID:
        return self.claim.job_id

    def on_interrupt(self, stop: Callable[[], object]) -> None:
        """Call `stop` when the lease is interrupted, or now if it already is."""
        with self._lock:
            self._stop = stop
            interrupted = self.interrupted
        if interrupted:
            stop()

    def interrupt(self, reason: Interrupt) -> None:
        with self._lock:
            if self.interrupted:
                return
            self.interrupted = reason
            stop = self._stop
        if stop:
            stop()


class Leases:
    """The leases that one worker process holds."""

    def __init__(self, database: Database, worker: str, lease_seconds: float) -> None:
        self.worker = worker
        self.draining = False
        self._database = database
        self._lease_seconds = lease_seconds
        self._held: dict[Claim, Lease] = {}
        self._lock = threading.Lock()

    def claim(self, job_ids: Collection[uuid.UUID], time_limit_seconds: float) -> list[Lease]:
        """Claim the jobs that are queued. The others run on another worker or have ended.

        Retries for `lease_seconds` while the database is down, since the message has already been taken from the queue.
        """
        claims = self._transaction(
            partial(job_transitions.claim, job_ids=job_ids, worker=self.worker, lease_seconds=self._lease_seconds),
            retry_seconds=self._lease_seconds,
        )
        for claim in claims:
            if claim.waited_seconds is not None:
                CLAIM_SECONDS.labels(claim.kind).observe(max(0.0, claim.waited_seconds))
        leases = [Lease(claim, time_limit_seconds) for claim in claims]
        with self._lock:
            self._held.update((lease.claim, lease) for lease in leases)
        return leases

    def heartbeat(self) -> None:
        """Extend all leases in one statement, and interrupt those that are lost, cancelled or over their time limit."""
        held = self.held()
        if not held:
            return
        with self._database.write() as session:
            extended = job_transitions.extend(session, _claims(held), lease_seconds=self._lease_seconds)
        for lease in held:
            if lease.claim not in extended:
                lease.interrupt(Interrupt.LEASE_LOST)
            elif extended[lease.claim]:
                lease.interrupt(Interrupt.CANCELLED)
            elif time.monotonic() > lease.deadline:
                lease.interrupt(Interrupt.TIME_LIMIT)

    def held(self) -> list[Lease]:
        with self._lock:
            return list(self._held.values())

    def interrupt_all(self, reason: Interrupt) -> None:
        for lease in self.held():
            lease.interrupt(reason)

    def save_progress(
        self,
        lease: Lease,
        percent_done: float | None,
        remaining_seconds: float | None,
        write: Callable[[Session], None],
    ) -> bool:
        """Store a running job's progress, and its results so far with `write`, in one transaction.

        Returns False if the lease is lost. Nothing is stored then, and the lease is interrupted.
        """

        def transaction(session: Session) -> bool:
            held = job_transitions.progress(session, lease.claim, percent_done, remaining_seconds)
            if held:
                write(session)
            return held

        held = self._transaction(transaction)
        if not held:
            lease.interrupt(Interrupt.LEASE_LOST)
        return held

    def set_loading(self, leases: Sequence[Lease], *, loading: bool) -> None:
        """Store that the jobs wait for their model to be loaded, or that they do not wait any more."""
        if leases:
            claims = _claims(leases)
            self._transaction(lambda session: job_transitions.set_loading(session, claims, loading=loading))

    def finish(self, leases: Sequence[Lease], interrupt: Interrupt | None, write: Write | None = None) -> None:
        """End jobs whose work has stopped: they succeed if nothing interrupted it.

        `write` stores their results, or their results so far if they are cancelled or over their time limit. Jobs that
        continue on another worker store nothing.
        """
        if interrupt == Interrupt.LEASE_LOST:
            self.lose(leases)
        elif interrupt == Interrupt.SHUTDOWN:
            self.give_back(leases)
        elif interrupt == Interrupt.CANCELLED:
            self._end(leases, JobStatus.CANCELLED, job_transitions.cancel, write)
        elif interrupt == Interrupt.TIME_LIMIT:
            limit = leases[0].time_limit_seconds
            self.fail(leases, ErrorType.TIME_LIMIT, f"the job ran longer than its limit of {limit:g} seconds", write)
        else:
            self._end(leases, JobStatus.SUCCEEDED, job_transitions.succeed, write)

    def fail(self, leases: Sequence[Lease], error: ErrorType, message: str, write: Write | None = None) -> None:
        """End jobs that would fail again if they were tried again."""
        for lease in leases:
            with job_log_fields([lease]):
                log.warning("job %s failed: %s: %s", lease.job_id, error.value, message)
        transition = partial(job_transitions.fail, error_type=error, message=message)
        self._end(leases, JobStatus.FAILED, transition, write)

    def give_back(self, leases: Sequence[Lease]) -> None:
        """Queue the jobs for another worker. The attempt does not count."""
        self._requeue(leases, job_transitions.give_back)

    def requeue(self, leases: Sequence[Lease], reason: str) -> None:
        """Queue the jobs again because the attempt failed, and another may succeed. The attempt counts."""
        for lease in leases:
            ATTEMPTS_FAILED.labels(lease.claim.kind).inc()
            with job_log_fields([lease]):
                log.warning("job %s: attempt %d failed: %s", lease.job_id, lease.claim.attempt, reason)
        self._requeue(leases, partial(job_transitions.requeue, reason=reason))

    def lose(self, leases: Sequence[Lease]) -> None:
        """Forget leases that are lost, without changing the jobs: another worker may hold them by now."""
        self._drop(leases)
        for lease in leases:
            LEASES_LOST.inc()
            with job_log_fields([lease]):
                log.warning(
                    "job %s: attempt %d lost its lease, its result is dropped", lease.job_id, lease.claim.attempt
                )

    def _end(
        self,
        leases: Sequence[Lease],
        status: JobStatus,
        transition: Callable[[Session, list[Claim]], set[uuid.UUID]],
        write: Write | None,
    ) -> None:
        if not leases:
            return

        def transaction(session: Session) -> set[uuid.UUID]:
            ended = transition(session, _claims(leases))
            if write and ended:
                write(session, ended)
            return ended

        ended = self._release(leases, transaction)
        for lease in leases:
            if lease.job_id in ended:
                JOBS_ENDED.labels(lease.claim.kind, status).inc()
        self.lose([lease for lease in leases if lease.job_id not in ended])

    def _requeue(self, leases: Sequence[Lease], transition: Callable[[Session, list[Claim]], list[Requeued]]) -> None:
        if not leases:
            return
        requeued = self._release(leases, lambda session: transition(session, _claims(leases)))
        publish_requeued(requeued)
        job_ids = {job.job_id for job in requeued}
        self.lose([lease for lease in leases if lease.job_id not in job_ids])

    def _release(self, leases: Sequence[Lease], transaction: Callable[[Session], T]) -> T:
        """Run the transaction that ends these leases, and drop them even if it fails."""
        try:
            return self._transaction(transaction)
        finally:
            self._drop(leases)

    def _drop(self, leases: Sequence[Lease]) -> None:
        with self._lock:
            for lease in leases:
                self._held.pop(lease.claim, None)

    def _transaction(self, function: Callable[[Session], T], retry_seconds: float = STORE_RETRY_SECONDS) -> T:
        def transaction() -> T:
            with self._database.write() as session:
                return function(session)

        return retry_database(transaction, retry_seconds)


def publish_requeued(requeued: Iterable[Requeued]) -> None:
    """Publish the jobs that are queued again, and count those that ended: cancelled, or out of attempts."""
    by_kind: dict[JobKind, list[uuid.UUID]] = {}
    for job in requeued:
        if job.status.final:
            JOBS_ENDED.labels(job.kind, job.status).inc()
        else:
            by_kind.setdefault(job.kind, []).append(job.job_id)
    for kind, job_ids in by_kind.items():
        queue.publish(kind, job_ids)


def job_log_fields(leases: Sequence[Lease]) -> AbstractContextManager[None]:
    """Add the job's id and attempt to every log line of the block. For several jobs, add their ids."""
    if len(leases) == 1:
        return log_fields(job_id=str(leases[0].job_id), attempt=leases[0].claim.attempt, job_ids=None)
    return log_fields(job_ids=[str(lease.job_id) for lease in leases])


def _claims(leases: Iterable[Lease]) -> list[Claim]:
    return [lease.claim for lease in leases]
