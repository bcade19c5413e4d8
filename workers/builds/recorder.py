"""Stores what the process of a build job reports."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy.orm import Session

from db.queries import job_events
from models.tasks.reports import Event, Report
from workers.leases import Lease
from workers.runtime import Runtime

Store = Callable[[Session, uuid.UUID, Any], None]
"""Stores a report of a job. It must store the same when it runs twice: see `workers.retrying.retry_database`."""


class Recorder:
    """Stores the reports of one attempt while its lease holds.

    `stores` maps a type of report to the function that stores it. `actions` does so for reports whose handling takes
    more than a transaction. Progress and events are stored for every kind of job.
    """

    def __init__(
        self,
        runtime: Runtime,
        lease: Lease,
        stores: Mapping[type, Store] | None = None,
        actions: Mapping[type, Callable[[Any], None]] | None = None,
    ) -> None:
        self._leases = runtime.leases
        self._lease = lease
        self._stores: dict[type, Store] = {Event: self._add_event, **(stores or {})}
        self._actions = actions or {}
        self._percent_done: float | None = None
        self._remaining_seconds: float | None = None

    def receive(self, reports: Sequence[Report]) -> None:
        """Handle reports in their order. Those between two actions are stored in one transaction."""
        for is_action, group in groupby(reports, lambda report: type(report) in self._actions):
            if is_action:
                for report in group:
                    self._actions[type(report)](report)
            else:
                self._store(list(group))

    def save(self, write: Callable[[Session], None]) -> bool:
        """Run `write` in a transaction that also stores the progress. Returns False if the lease is lost."""
        return self._leases.save_progress(self._lease, self._percent_done, self._remaining_seconds, write)

    def _store(self, reports: Sequence[Report]) -> None:
        for report in reports:
            if hasattr(report, "percent_done"):
                self._percent_done = report.percent_done
                self._remaining_seconds = getattr(report, "remaining_seconds", None)

        def write(session: Session) -> None:
            for report in reports:
                if store := self._stores.get(type(report)):
                    store(session, self._lease.job_id, report)

        self.save(write)

    def _add_event(self, session: Session, job_id: uuid.UUID, event: Event) -> None:
        job_events.add(session, job_id, self._lease.claim.attempt, event.event, event.message)
