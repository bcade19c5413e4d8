"""The upgrade of docs/operations.md: migrate while everything runs, start new workers, stop old ones. No job is lost.

The old worker is today's code over a schema of tomorrow: one more migration than the code knows.
"""

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, select, text

import migrations
from db.session import Database
from db.tables.generations import Generation
from db.tables.jobs import Job
from db.vocabulary import JobStatus, QueueName
from tests.api.helpers import submit, submit_batch
from tests.processes import eventually, running
from workers import queue

pytestmark = pytest.mark.long

FAST: dict[str, Any] = {
    "heartbeat_seconds": 0.3,
    "reconcile_seconds": 0.5,
    "lost_message_seconds": 1,
    "shutdown_grace_seconds": 0.5,
}
LONG = {"temperature": 2.0, "max_new_tokens": 900}

TOMORROW = """
import sqlalchemy as sa
from alembic import op

revision = "tomorrow"
down_revision = "{head}"
branch_labels = depends_on = None


def upgrade():
    op.add_column("jobs", sa.Column("priority", sa.Integer(), nullable=False, server_default="5"))
    op.add_column("generations", sa.Column("remark", sa.Text(), nullable=True))
    op.create_index("ix_jobs_priority", "jobs", ["priority"])
    op.create_table(
        "remarks",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        sa.PrimaryKeyConstraint("job_id"),
    )
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated database of the test's own, as its schema changes."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'upgrade.sqlite3'}"
        migrations.upgrade(url)
        yield url
        return
    server: str = request.getfixturevalue("postgresql_url")
    administration = create_engine(server, isolation_level="AUTOCOMMIT")
    with administration.connect() as connection:
        connection.execute(text("CREATE DATABASE upgrade"))
    url = server.replace("/pagewright?", "/upgrade?")
    migrations.upgrade(url)
    yield url
    with administration.connect() as connection:
        connection.execute(text("DROP DATABASE upgrade WITH (FORCE)"))
    administration.dispose()


def migrate_to_tomorrow(url: str, folder: Path) -> None:
    configuration = migrations.config(url)
    scripts = ScriptDirectory.from_config(configuration)
    folder.mkdir()
    (folder / "tomorrow.py").write_text(TOMORROW.format(head=scripts.get_current_head()))
    configuration.set_main_option("path_separator", "os")
    configuration.set_main_option("version_locations", f"{scripts.versions}:{folder}")
    command.upgrade(configuration, "tomorrow")


def test_jobs_of_before_during_and_after_an_upgrade_are_done_once(
    database: Database, database_url: str, as_user: TestClient, tmp_path: Path
) -> None:
    jobs: set[str] = set()

    def accepted(**fields: Any) -> str:
        jobs.add(job := str(submit(as_user, **fields)["id"]))
        return job

    def statuses(of: set[str]) -> set[str]:
        with database.read() as session:
            found = session.scalars(select(Job.status).where(Job.id.in_([uuid.UUID(job) for job in of])))
            return set(found)

    def workers(count: int) -> Callable[[], bool]:
        return lambda: queue.live_workers()[QueueName.GENERATION] == count

    over = threading.Event()

    def go_on_submitting() -> None:
        while not over.wait(0.2):
            accepted(max_new_tokens=20)

    stream = threading.Thread(target=go_on_submitting)
    log = tmp_path / "log"
    with running("worker", log=log, **FAST) as old:
        eventually(workers(1), "the old worker")
        first = set(submit_batch(as_user, 5)["job_ids"])
        jobs.update(first)
        eventually(lambda: statuses(first) == {JobStatus.SUCCEEDED}, "jobs that the old worker has finished")
        long = {accepted(**LONG, seed=number) for number in range(8)}
        eventually(lambda: JobStatus.RUNNING in statuses(long), "running jobs")
        stream.start()
        try:
            migrate_to_tomorrow(database_url, tmp_path / "versions")
            assert JobStatus.RUNNING in statuses(long), "jobs ran through the migration"
            with running("worker", log=log, **FAST):
                eventually(workers(2), "the new worker beside the old one")
                old.terminate()
                assert old.wait() == 0
                over.set()
                stream.join()
                jobs.update(submit_batch(as_user, 5)["job_ids"])
                eventually(lambda: statuses(jobs) == {JobStatus.SUCCEEDED}, "the end of all jobs")
        finally:
            over.set()
            stream.join()

    with database.read() as session:
        rows = session.execute(select(Job, Generation).join(Generation, Generation.job_id == Job.id)).all()
        assert session.scalars(text("SELECT priority FROM jobs")).all() == [5] * len(jobs)
    assert {str(job.id) for job, _ in rows} == jobs
    assert all(generation.completion is not None for _, generation in rows)
    assert {job.max_attempts - job.attempt for job, _ in rows} == {2}, "no attempt was lost: each job was done once"
    assert len({job.worker for job, _ in rows}) == 2
    assert "lost its lease" not in log.read_text()
    assert "ERROR" not in log.read_text()
