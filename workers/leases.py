"""A worker's side of a job's life: claim it, keep its lease, learn that it must stop, end it.

The statements are in `db.job_transitions`. This module holds what one process has claimed, and the one thread that
extends all of it.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import TypeVar

from sqlalchemy.orm import Session

from db import job_transitions
from db.job_transitions import Claim, Requeued
from db.session import UNREACHABLE, Database
from db.vocabulary import ErrorType, JobKind, JobStatus
from pagewright.logging import log_fields
from pagewright.telemetry import ATTEMPTS_FAILED, CLAIM_SECONDS, JOBS_ENDED, LEASES_LOST
from workers import queue

log = logging.getLogger(__name__)

T = TypeVar("T")
Write = Callable[[Session, set[uuid.UUID]], None]
"""Stores the results of the jobs whose ids it gets, in the transaction that ends those jobs."""

PATIENCE_SECONDS = 300.0
"""How long a finished job waits for what its result is to be stored in."""


class Interrupt(StrEnum):
    """Why work on a claimed job has to stop before it is done."""

    CANCELLED = "cancelled"
    LEASE_LOST = "lease lost"
    TIME_LIMIT = "time limit"
    SHUTDOWN = "shutdown"


class Lease:
    """A job that this process may work on, until it ends it or is interrupted. The first interrupt stays."""

    def __init__(self, claim: Claim, time_limit_seconds: float) -> None:
        self.claim = claim
        self.deadline = time.monotonic() + time_limit_seconds
        self.interrupted: Interrupt | None = None
        self._stop: Callable[[], object] | None = None
        self._lock = threading.Lock()

    @property
    def job_id(self) -> uuid.UUID:
        return self.claim.job_id

    def on_interrupt(self, stop: Callable[[], object]) -> None:
        """Call `stop` when the lease is interrupted; at once, if it was already."""
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
    """All that one worker process has claimed."""

    def __init__(self, database: Database, worker: str, lease_seconds: float) -> None:
        self.worker = worker
        self.draining = False
        self._database = database
        self._lease_seconds = lease_seconds
        self._held: dict[Claim, Lease] = {}
        self._lock = threading.Lock()

    def claim(self, job_ids: Collection[uuid.UUID], time_limit_seconds: float) -> list[Lease]:
        """Claim those of the jobs that are queued; what is not is somebody else's, or over.

        Waits for a database that is away for no longer than a lease lasts: the message is lost otherwise.
        """

        def transaction() -> list[Claim]:
            with self._database.write() as session:
                return job_transitions.claim(session, job_ids, worker=self.worker, lease_seconds=self._lease_seconds)

        claims = outlast_database_failures(transaction, patience_seconds=self._lease_seconds)
        for claim in claims:
            if claim.waited_seconds is not None:
                CLAIM_SECONDS.labels(claim.kind).observe(max(0.0, claim.waited_seconds))
        leases = [Lease(claim, time_limit_seconds) for claim in claims]
        with self._lock:
            self._held.update((lease.claim, lease) for lease in leases)
        return leases

    def heartbeat(self) -> None:
        """Extend every lease in one statement, and interrupt those that were lost, cancelled or ran too long."""
        held = self.held()
        if not held:
            return
        with self._database.write() as session:
            extended = job_transitions.extend(
                session, [lease.claim for lease in held], lease_seconds=self._lease_seconds
            )
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

    def succeed(self, leases: Sequence[Lease], write: Write) -> None:
        """End the jobs, and store their results in the same transaction."""
        self._end(leases, lambda session: job_transitions.succeed(session, _claims(leases)), write, JobStatus.SUCCEEDED)

    def cancel(self, leases: Sequence[Lease], write: Write) -> None:
        """End jobs that were asked to cancel, keeping what they had made."""
        self._end(leases, lambda session: job_transitions.cancel(session, _claims(leases)), write, JobStatus.CANCELLED)

    def fail(self, leases: Sequence[Lease], error: ErrorType, message: str, write: Write | None = None) -> None:
        for lease in leases:
            with about_jobs([lease]):
                log.warning("job %s failed: %s: %s", lease.job_id, error.value, message)

        def statement(session: Session) -> set[uuid.UUID]:
            return job_transitions.fail(session, _claims(leases), error, message)

        self._end(leases, statement, write, JobStatus.FAILED)

    def go_on(
        self,
        lease: Lease,
        percent_done: float | None,
        remaining_seconds: float | None,
        write: Callable[[Session], None],
    ) -> bool:
        """Note how far a job is, and store what it made so far in the same transaction, if its lease holds.

        Returns whether it does; the lease is interrupted if not.
        """

        def transaction() -> bool:
            with self._database.write() as session:
                held = job_transitions.progress(session, lease.claim, percent_done, remaining_seconds)
                if held:
                    write(session)
            return held

        held = outlast_database_failures(transaction)
        if not held:
            lease.interrupt(Interrupt.LEASE_LOST)
        return held

    def give_back(self, leases: Sequence[Lease]) -> None:
        """Queue the jobs for another worker, without counting the attempt."""
        self._take_back(leases, lambda session: job_transitions.give_back(session, _claims(leases)))

    def requeue(self, leases: Sequence[Lease], reason: str) -> None:
        """Queue again the jobs of an attempt that failed through no fault of theirs; the attempt counts."""
        for lease in leases:
            ATTEMPTS_FAILED.labels(lease.claim.kind).inc()
            with about_jobs([lease]):
                log.warning("job %s attempt %d is lost: %s", lease.job_id, lease.claim.attempt, reason)
        self._take_back(leases, lambda session: job_transitions.requeue(session, _claims(leases), reason))

    def lose(self, leases: Sequence[Lease]) -> None:
        """Forget leases that were lost: whoever holds the jobs now must not be disturbed."""
        self._drop(leases)
        for lease in leases:
            LEASES_LOST.inc()
            with about_jobs([lease]):
                log.warning("job %s attempt %d: lease lost, result dropped", lease.job_id, lease.claim.attempt)

    def _take_back(self, leases: Sequence[Lease], take: Callable[[Session], list[Requeued]]) -> None:
        taken: list[Requeued] = []

        def statement(session: Session) -> set[uuid.UUID]:
            taken[:] = take(session)
            return {job.job_id for job in taken}

        self._end(leases, statement)
        publish_requeued(taken)
        count_ended(taken)

    def _drop(self, leases: Iterable[Lease]) -> None:
        with self._lock:
            for lease in leases:
                self._held.pop(lease.claim, None)

    def _end(
        self,
        leases: Sequence[Lease],
        statement: Callable[[Session], set[uuid.UUID]],
        write: Write | None = None,
        status: JobStatus | None = None,
    ) -> None:
        """`status` is what the statement ends the jobs with, if it does."""
        if not leases:
            return

        def transaction() -> set[uuid.UUID]:
            with self._database.write() as session:
                changed = statement(session)
                if write and changed:
                    write(session, changed)
            return changed

        try:
            changed = outlast_database_failures(transaction)
        finally:
            self._drop(leases)
        self.lose([lease for lease in leases if lease.job_id not in changed])
        if status:
            for lease in leases:
                if lease.job_id in changed:
                    JOBS_ENDED.labels(lease.claim.kind, status).inc()


def outlast_database_failures(transaction: Callable[[], T], patience_seconds: float = PATIENCE_SECONDS) -> T:
    """Run a transaction again until the database answers: a finished job is worth waiting for a restart.

    Its commit may have gone through although the answer was lost: what it stores, it must store once when it is run
    twice. What ends a job does: the second time its attempt no longer holds the job. Raises the last error when the
    patience is used up; the lease then runs out and the reconciler takes over.
    """
    give_up = time.monotonic() + patience_seconds
    return outlast(UNREACHABLE, transaction, "the database does not answer", lambda: time.monotonic() > give_up)


def outlast(
    failures: tuple[type[Exception], ...], action: Callable[[], T], what_is_wrong: str, hopeless: Callable[[], bool]
) -> T:
    """Do something again and again while it fails in one of these ways; raises the last failure once it is hopeless."""
    pause = 0.1
    while True:
        try:
            return action()
        except failures as error:
            if hopeless():
                raise
            log.warning("%s, trying again: %s", what_is_wrong, getattr(error, "strerror", None) or type(error).__name__)
            time.sleep(pause)
            pause = min(2 * pause, 5.0)


def publish_requeued(requeued: Iterable[Requeued]) -> None:
    """Send the news of those that are queued again; the others had no attempt left, or were cancelled."""
    by_kind: dict[JobKind, list[uuid.UUID]] = {}
    for job in requeued:
        if job.status == JobStatus.QUEUED:
            by_kind.setdefault(job.kind, []).append(job.job_id)
    for kind, job_ids in by_kind.items():
        queue.publish(kind, job_ids)


def count_ended(requeued: Iterable[Requeued]) -> None:
    """Count those of the jobs that had no attempt left, or were cancelled."""
    for job in requeued:
        if job.status.final:
            JOBS_ENDED.labels(job.kind, job.status).inc()


def about_jobs(leases: Sequence[Lease]) -> AbstractContextManager[None]:
    """Have all lines of the block name the job that they are about, or, where there are several, each."""
    if len(leases) == 1:
        return log_fields(job_id=str(leases[0].job_id), attempt=leases[0].claim.attempt, job_ids=None)
    return log_fields(job_ids=[str(lease.job_id) for lease in leases])


def _claims(leases: Iterable[Lease]) -> list[Claim]:
    return [lease.claim for lease in leases]
