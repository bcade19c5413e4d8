"""Pruning deletes old finished jobs with all their rows and nothing else, even if it is interrupted."""

import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Integer, event, func, select, update

from db import job_transitions, pruning
from db.queries import evaluations, models
from db.session import Database
from db.tables.api_keys import ApiKey
from db.tables.base import Table
from db.tables.datasets import Dataset
from db.tables.evaluations import Evaluation, Prediction
from db.tables.fine_tunes import FineTune, FineTuneStep
from db.tables.generations import Generation
from db.tables.jobs import Job, JobEvent
from db.tables.models import Model
from db.vocabulary import JobKind, JobStatus, Role
from tests.db.rows import insert_job, insert_row, tables_with_a_foreign_key
from tests.ids import id_of

SubmitJobs = Callable[..., list[Job]]
MakeModel = Callable[..., Model]

MONTH = timedelta(days=30)
OLD = datetime.now(UTC) - 2 * MONTH
BEFORE = datetime.now(UTC) - MONTH
NUMBERED_ROWS = 5
"""How many rows a job of `job_of_each_kind` has in a table whose rows have a number, such as predictions."""


def finish(database: Database, jobs: Iterable[uuid.UUID], at: datetime = OLD) -> None:
    with database.write() as session:
        statement = update(Job).where(Job.id.in_(list(jobs))).values(status=JobStatus.SUCCEEDED, finished_at=at)
        session.execute(statement)


def prune(database: Database, kinds: Iterable[JobKind] = tuple(JobKind)) -> int:
    """Delete the jobs that finished before `BEFORE` and return how many there were."""
    count = 0
    for jobs in pruning.prunable_jobs(database, list(kinds), BEFORE):
        pruning.delete_jobs(database, jobs)
        count += len(jobs)
    return count


def rows(database: Database, *tables: type[Table]) -> list[int]:
    with database.read() as session:
        return [session.scalars(select(func.count()).select_from(table)).one() for table in tables]


@pytest.fixture
def old_jobs(submit_jobs: SubmitJobs, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[Job]]:
    """Submits generations whose ids say that they were submitted two months ago."""

    def submit(count: int) -> list[Job]:
        with monkeypatch.context() as patch:
            patch.setattr("tests.conftest.uuid7", lambda: id_of(OLD))
            return submit_jobs(count)

    return submit


@pytest.fixture
def job_of_each_kind(
    database: Database,
    make_key: Callable[[Role], tuple[ApiKey, str]],
    make_dataset: Callable[..., Dataset],
    make_model: MakeModel,
) -> dict[JobKind, uuid.UUID]:
    """The ids of old finished jobs, one of each kind, that have rows in every table that refers to jobs."""
    key, _ = make_key(Role.ADMIN)
    dataset, model = make_dataset([("Create a page.", "", "<p>")], name="pages"), make_model()
    ids = {}
    with database.write() as session:
        for kind in JobKind:
            ids[kind] = insert_job(
                session, id=id_of(OLD), kind=kind, status=JobStatus.FAILED, api_key_id=key.id,
                created_at=OLD, published_at=OLD, finished_at=OLD,
            )  # fmt: skip
            for table in tables_with_a_foreign_key("jobs"):
                if table.name == "models":
                    continue
                references = {"job_id": ids[kind], "model_id": model.id, "dataset_id": dataset.id}
                numbers = [column.name for column in table.primary_key if isinstance(column.type, Integer)]
                for number in range(NUMBERED_ROWS if numbers else 1):
                    insert_row(session, table, **references, **dict.fromkeys(numbers, number))
    return ids


def test_old_finished_jobs_are_deleted_from_every_table_that_refers_to_jobs(
    database: Database, old_jobs: Callable[[int], list[Job]], job_of_each_kind: dict[JobKind, uuid.UUID]
) -> None:
    finish(database, [job.id for job in old_jobs(3)])
    assert prune(database) == 3 + len(job_of_each_kind)
    counts = {mapper.class_.__tablename__: rows(database, mapper.class_)[0] for mapper in Table.registry.mappers}
    assert counts.keys() == {table.name for table in Table.metadata.sorted_tables}
    assert {name for name, count in counts.items() if count} == {"api_keys", "models", "datasets", "installation"}
    assert prune(database) == 0


def test_jobs_that_are_unfinished_recent_or_of_another_kind_are_kept(
    database: Database, old_jobs: Callable[[int], list[Job]], job_of_each_kind: dict[JobKind, uuid.UUID]
) -> None:
    queued, running, recent, deleted = old_jobs(4)
    with database.write() as session:
        job_transitions.claim(session, [running.id], worker="a", lease_seconds=30)
    finish(database, [recent.id], at=BEFORE + timedelta(minutes=1))
    finish(database, [deleted.id])
    kinds = [JobKind.GENERATION, JobKind.MERGE]
    assert prune(database, kinds) == 3
    kept = {queued.id, running.id, recent.id, *(job_of_each_kind[kind] for kind in JobKind if kind not in kinds)}
    with database.read() as session:
        assert set(session.scalars(select(Job.id))) == kept
        assert set(session.scalars(select(Generation.job_id))) == kept
        assert set(session.scalars(select(Prediction.job_id))) == kept - {queued.id, running.id, recent.id}


def test_a_job_whose_result_model_is_registered_is_kept(
    database: Database, make_model: MakeModel, job_of_each_kind: dict[JobKind, uuid.UUID]
) -> None:
    make_model(name="tuned", job_id=job_of_each_kind[JobKind.FINE_TUNE])
    assert prune(database) == len(job_of_each_kind) - 1
    assert rows(database, Job, FineTune, FineTuneStep, JobEvent, Model) == [1, 1, NUMBERED_ROWS, 1, 3]


def test_a_batch_is_kept_until_all_of_its_jobs_are_old(
    database: Database, old_jobs: Callable[[int], list[Job]]
) -> None:
    old_batch, mixed_batch, no_batch = uuid.uuid4(), uuid.uuid4(), None
    jobs = old_jobs(7)
    with database.write() as session:
        for batch_id, some in ((old_batch, jobs[:3]), (mixed_batch, jobs[3:6]), (no_batch, jobs[6:])):
            session.execute(update(Job).where(Job.id.in_([job.id for job in some])).values(batch_id=batch_id))
    finish(database, [job.id for job in jobs])
    finish(database, [jobs[5].id], at=datetime.now(UTC))
    assert prune(database) == 4
    with database.read() as session:
        assert session.scalars(select(Job.batch_id)).all() == [mixed_batch] * 3


def test_no_statement_deletes_more_rows_than_one_transaction_may(
    database: Database,
    old_jobs: Callable[[int], list[Job]],
    job_of_each_kind: dict[JobKind, uuid.UUID],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pruning, "JOBS_AT_ONCE", 4)
    monkeypatch.setattr(pruning, "ROWS_AT_ONCE", 2)
    finish(database, [job.id for job in old_jobs(10)])
    deleted: list[int] = []

    @event.listens_for(database.engine, "after_cursor_execute")
    def count(_connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("DELETE"):
            deleted.append(cursor.rowcount)  # type: ignore[attr-defined]

    assert prune(database) == 10 + len(job_of_each_kind)
    assert 2 <= max(deleted) <= 4
    assert rows(database, Job, Prediction, FineTuneStep) == [0, 0, 0]


class Killed(Exception):
    pass


def test_pruning_that_is_interrupted_at_any_statement_is_completed_by_the_next(
    database: Database,
    old_jobs: Callable[[int], list[Job]],
    job_of_each_kind: dict[JobKind, uuid.UUID],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pruning, "JOBS_AT_ONCE", 4)
    monkeypatch.setattr(pruning, "ROWS_AT_ONCE", 2)
    jobs = old_jobs(12)
    finish(database, [job.id for job in jobs[:10]])
    statements_left = 0

    @event.listens_for(database.engine, "before_cursor_execute")
    def kill(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal statements_left
        if statement.startswith("DELETE"):
            statements_left -= 1
            if statements_left == 0:
                raise Killed

    interruptions = 0
    while True:
        statements_left = interruptions + 1  # one more with each try, so that every statement is interrupted once
        try:
            prune(database)
            break
        except Killed:
            interruptions += 1
            assert rows(database, Generation)[0] >= 2
    assert interruptions > 10
    assert rows(database, Job, Generation, Prediction, JobEvent, Model, Dataset) == [2, 2, 0, 0, 2, 1]


def test_an_evaluation_that_is_deleted_in_part_is_not_shown(
    database: Database, job_of_each_kind: dict[JobKind, uuid.UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> bool:
        raise Killed

    job_id = job_of_each_kind[JobKind.EVALUATION]
    with database.read() as session:
        assert evaluations.get(session, job_id) is not None
    monkeypatch.setattr(pruning, "_delete_some", kill)
    with pytest.raises(Killed):
        prune(database, [JobKind.EVALUATION])
    with database.read() as session:
        assert session.get(Evaluation, job_id) is None
        assert evaluations.get(session, job_id) is None
        assert models.all_names(session) == ["made", "starter"]
