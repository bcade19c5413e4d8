import uuid
from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session

from db import job_transitions
from db.queries import job_events
from db.session import Database
from db.tables.jobs import Job
from models.tasks.reports import Event, QuantizedLayer, Report
from tests.databases import on_sqlite
from workers.builds.recorder import Recorder
from workers.leases import Interrupt, Lease
from workers.runtime import Runtime

pytestmark = on_sqlite

EVENT = Event("precision", "float16 is slow on this device")
PROGRESS = QuantizedLayer(1, 4, percent_done=25, remaining_seconds=30)


@pytest.fixture
def lease(runtime: Runtime, submit_jobs: Callable[..., list[Job]]) -> Lease:
    [job] = submit_jobs()
    [lease] = runtime.leases.claim([job.id], 60)
    return lease


def events(database: Database, job_id: uuid.UUID) -> list[tuple[str, str, int]]:
    with database.read() as session:
        return [(event.type, event.message, event.attempt) for event in job_events.of_job(session, job_id)]


def test_events_and_progress_are_stored_for_every_kind_of_job(runtime: Runtime, lease: Lease) -> None:
    Recorder(runtime, lease).receive([EVENT, PROGRESS])
    assert events(runtime.database, lease.job_id) == [("precision", "float16 is slow on this device", 1)]
    with runtime.database.read() as session:
        job = session.get(Job, lease.job_id)
    assert job is not None
    assert (job.percent_done, job.remaining_seconds) == (25, 30)


def test_reports_are_stored_in_order_with_actions_between_their_transactions(runtime: Runtime, lease: Lease) -> None:
    sessions: list[Session | None] = []

    def store(session: Session, job_id: uuid.UUID, report: Report) -> None:
        assert job_id == lease.job_id
        sessions.append(session)

    recorder = Recorder(runtime, lease, {QuantizedLayer: store}, {Event: lambda _: sessions.append(None)})
    recorder.receive([PROGRESS, PROGRESS, EVENT, PROGRESS])
    first, second, action, third = sessions
    assert first is second
    assert action is None
    assert third is not second


def test_nothing_is_stored_once_the_lease_is_lost(runtime: Runtime, lease: Lease) -> None:
    with runtime.database.write() as session:
        job_transitions.requeue(session, [lease.claim], "taken away by the test")
    Recorder(runtime, lease).receive([EVENT])
    assert events(runtime.database, lease.job_id) == []
    assert lease.interrupted == Interrupt.LEASE_LOST
