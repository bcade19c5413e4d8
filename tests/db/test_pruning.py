"""Pruning deletes what it says and nothing else; interrupted anywhere, it goes on where it stood."""

import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, func, select, update

from db import job_transitions, pruning
from db.queries import evaluations, models, predictions
from db.session import Database, now
from db.tables.api_keys import ApiKey
from db.tables.base import Table
from db.tables.datasets import Dataset
from db.tables.evaluations import Evaluation, EvaluationScore, Prediction
from db.tables.fine_tunes import FineTune, FineTuneStep
from db.tables.generations import Generation
from db.tables.jobs import Job, JobEvent
from db.tables.merges import Merge
from db.tables.models import Model
from db.tables.quantizations import Quantization, QuantizationVariant, QuantizedModule
from db.vocabulary import JobKind, JobStatus, Role, Split
from models.scoring.names import Metric
from tests.ids import id_of

SubmitJobs = Callable[..., list[Job]]
MakeModel = Callable[..., Model]

MONTH = timedelta(days=30)
OLD = datetime.now(UTC) - 2 * MONTH
BEFORE = datetime.now(UTC) - MONTH


def end(database: Database, jobs: Iterable[uuid.UUID], at: datetime = OLD) -> None:
    """The jobs have been over since then."""
    with database.write() as session:
        statement = update(Job).where(Job.id.in_(list(jobs))).values(status=JobStatus.SUCCEEDED, finished_at=at)
        session.execute(statement)


def prune(database: Database, kinds: Iterable[JobKind] = tuple(JobKind)) -> int:
    """How many jobs were deleted."""
    count = 0
    for jobs in pruning.condemned(database, list(kinds), BEFORE):
        pruning.delete_jobs(database, jobs)
        count += len(jobs)
    return count


def rows(database: Database, *tables: type[Table]) -> list[int]:
    with database.read() as session:
        return [session.scalars(select(func.count()).select_from(table)).one() for table in tables]


@pytest.fixture
def old_jobs(submit_jobs: SubmitJobs, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[Job]]:
    """Submits jobs two months ago, as their ids say too."""

    def submit(count: int) -> list[Job]:
        with monkeypatch.context() as patch:
            patch.setattr("tests.conftest.uuid7", lambda: id_of(OLD))
            return submit_jobs(count)

    return submit


@pytest.fixture
def long_jobs(
    database: Database,
    make_key: Callable[[Role], tuple[ApiKey, str]],
    make_dataset: Callable[..., Dataset],
    make_model: MakeModel,
) -> dict[JobKind, uuid.UUID]:
    """An old ended job of each kind but generation, with rows in every table; the quantization has made a model."""
    key, _ = make_key(Role.ADMIN)
    dataset = make_dataset([("Create a page.", "", "<p>")], name="pages")
    model = make_model()
    kinds = [kind for kind in JobKind if kind != JobKind.GENERATION]
    ids: dict[JobKind, uuid.UUID] = {kind: id_of(OLD) for kind in kinds}
    about = {"model_id": model.id, "dataset_id": dataset.id, "split": Split.TRAIN}
    decoding = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "stop": [], "model_name": model.name}
    with database.write() as session:
        for kind, job_id in ids.items():
            session.add(
                Job(
                    id=job_id, kind=kind, status=JobStatus.FAILED, api_key_id=key.id, max_attempts=3,
                    created_at=OLD, published_at=OLD, finished_at=OLD,
                )
            )  # fmt: skip
        session.flush()
        tuned, tested, shrunk = (ids[kind] for kind in (JobKind.FINE_TUNE, JobKind.EVALUATION, JobKind.QUANTIZATION))
        session.add_all(
            [
                FineTune(job_id=tuned, name="a", lora={}, training={}, devices=1, **about),
                Merge(job_id=ids[JobKind.MERGE], model_id=model.id, name="b"),
                Evaluation(job_id=tested, rows=5, metrics=list(Metric), **about, **decoding),
                Quantization(job_id=shrunk, name="c", options={}, report_rows=0, **about),
                EvaluationScore(job_id=tested, metric=Metric.CHRF, value=1.0, n=5),
                QuantizedModule(job_id=shrunk, layer=0, module="q", tokens=1, seconds=1.0),
                QuantizationVariant(job_id=shrunk, variant="quantized"),
                *(FineTuneStep(job_id=tuned, step=step, epoch=0.0, created_at=OLD) for step in range(1, 6)),
                *(JobEvent(job_id=job_id, attempt=1, type="x", message="y", created_at=OLD) for job_id in ids.values()),
            ]
        )
        predictions.add(
            session,
            tested,
            [
                Prediction(
                    job_id=tested, row=row, prompt="", input="", completion="", reference="",
                    finish_reason="stop", latency_seconds=0.0, created_at=OLD,
                )
                for row in range(5)
            ],
        )  # fmt: skip
    return ids


def test_old_jobs_that_are_over_go_with_all_their_rows(
    database: Database, old_jobs: Callable[[int], list[Job]], long_jobs: dict[JobKind, uuid.UUID]
) -> None:
    end(database, [job.id for job in old_jobs(3)])
    assert prune(database) == 3 + len(long_jobs)
    left = {table.name for table in Table.metadata.sorted_tables}
    kept = {"api_keys", "models", "datasets"}
    counts = {mapper.class_.__tablename__: rows(database, mapper.class_)[0] for mapper in Table.registry.mappers}
    assert counts.keys() == left
    assert {name for name, count in counts.items() if count} == kept
    assert prune(database) == 0


def test_what_is_not_over_not_old_or_not_asked_for_stays(
    database: Database, old_jobs: Callable[[int], list[Job]], long_jobs: dict[JobKind, uuid.UUID]
) -> None:
    queued, running, fresh, gone = old_jobs(4)
    with database.write() as session:
        job_transitions.claim(session, [running.id], worker="a", lease_seconds=30)
    end(database, [fresh.id], at=BEFORE + timedelta(minutes=1))
    end(database, [gone.id])
    assert prune(database, [JobKind.GENERATION, JobKind.MERGE]) == 2
    with database.read() as session:
        left = set(session.scalars(select(Job.id)))
    assert left == {queued.id, running.id, fresh.id, *long_jobs.values()} - {long_jobs[JobKind.MERGE]}
    assert rows(database, Generation, Prediction, Merge) == [3, 5, 0]


def test_the_job_that_made_a_registered_model_stays(
    database: Database, make_model: MakeModel, long_jobs: dict[JobKind, uuid.UUID]
) -> None:
    make_model(name="tuned", job_id=long_jobs[JobKind.FINE_TUNE])
    assert prune(database) == len(long_jobs) - 1
    assert rows(database, FineTune, FineTuneStep, JobEvent, Model) == [1, 5, 1, 3]


def test_a_batch_goes_as_a_whole_or_not_at_all(database: Database, old_jobs: Callable[[int], list[Job]]) -> None:
    over, mixed, alone = uuid.uuid4(), uuid.uuid4(), None
    jobs = old_jobs(7)
    with database.write() as session:
        for batch_id, some in ((over, jobs[:3]), (mixed, jobs[3:6]), (alone, jobs[6:])):
            session.execute(update(Job).where(Job.id.in_([job.id for job in some])).values(batch_id=batch_id))
    end(database, [job.id for job in jobs])
    end(database, [jobs[5].id], at=datetime.now(UTC))
    assert prune(database) == 4
    with database.read() as session:
        assert session.scalars(select(Job.batch_id)).all() == [mixed] * 3


def test_page_after_page_is_deleted_in_short_transactions(
    database: Database,
    old_jobs: Callable[[int], list[Job]],
    long_jobs: dict[JobKind, uuid.UUID],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pruning, "JOBS_AT_ONCE", 4)
    monkeypatch.setattr(pruning, "ROWS_AT_ONCE", 2)
    end(database, [job.id for job in old_jobs(10)])
    deleted: list[int] = []

    @event.listens_for(database.engine, "after_cursor_execute")
    def count(_connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("DELETE"):
            deleted.append(cursor.rowcount)  # type: ignore[attr-defined]

    assert prune(database) == 10 + len(long_jobs)
    assert 2 <= max(deleted) <= 4
    assert rows(database, Job, Prediction, FineTuneStep) == [0, 0, 0]


class Killed(Exception):
    pass


def test_interrupted_anywhere_it_is_done_by_the_next_and_has_lost_nothing_else(
    database: Database,
    old_jobs: Callable[[int], list[Job]],
    long_jobs: dict[JobKind, uuid.UUID],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pruning, "JOBS_AT_ONCE", 4)
    monkeypatch.setattr(pruning, "ROWS_AT_ONCE", 2)
    jobs = old_jobs(12)
    end(database, [job.id for job in jobs[:10]])
    left = 0

    @event.listens_for(database.engine, "before_cursor_execute")
    def kill(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal left
        if statement.startswith("DELETE"):
            left -= 1
            if left == 0:
                raise Killed

    interrupted = 0
    while True:
        left = interrupted + 1  # later with each try, so that every statement has been the last
        try:
            prune(database)
            break
        except Killed:
            interrupted += 1
            with database.read() as session:
                whole = session.scalars(select(func.count()).select_from(Generation)).one()
                assert whole >= 2
    assert interrupted > 10
    assert rows(database, Job, Generation, Prediction, JobEvent, Model, Dataset) == [2, 2, 0, 0, 2, 1]


def test_an_evaluation_of_which_a_part_is_deleted_is_not_shown(
    database: Database, long_jobs: dict[JobKind, uuid.UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> bool:
        raise Killed

    monkeypatch.setattr(pruning, "_delete_some", kill)
    with pytest.raises(Killed):
        prune(database, [JobKind.EVALUATION])
    with database.read() as session:
        assert evaluations.get(session, long_jobs[JobKind.EVALUATION]) is None
        assert models.all_names(session) == ["made", "starter"]
        assert now(session) > BEFORE
