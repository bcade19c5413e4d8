import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import update
from uuid_utils.compat import uuid7

from db.queries import evaluations, generations, jobs, models
from db.queries.evaluations import EvaluationRow
from db.queries.generations import GenerationRow
from db.session import Database, now
from db.tables.api_keys import ApiKey
from db.tables.datasets import Dataset
from db.tables.evaluations import Evaluation
from db.tables.generations import Generation
from db.tables.jobs import Job
from db.vocabulary import JobKind, JobStatus, Role, Split
from models.scoring.names import Metric
from pagewright.settings import get_settings
from workers.roles import WorkerRole
from workers.runtime import Runtime

ReadGeneration = Callable[[uuid.UUID], GenerationRow]

FAST: dict[str, Any] = {
    "lease_seconds": 4,
    "heartbeat_seconds": 0.3,
    "reconcile_seconds": 0.3,
    "lost_message_seconds": 1,
    "shutdown_grace_seconds": 0.5,
}
"""Settings of a worker process that notices soon what is lost."""


@pytest.fixture
def runtime(database: Database) -> Iterator[Runtime]:
    """The runtime of a build worker. Tests of an inference worker define their own."""
    runtime = Runtime(get_settings(), database, WorkerRole.BUILD, None)
    yield runtime
    runtime.stop()


@pytest.fixture
def read(database: Database) -> ReadGeneration:
    def read_one(job_id: uuid.UUID) -> GenerationRow:
        with database.read() as session:
            row = generations.get(session, job_id, owner=None)
        assert row is not None
        return row

    return read_one


@pytest.fixture
def all_are(read: ReadGeneration) -> Callable[[Sequence[Job], JobStatus], bool]:
    """Says whether all of these generations have this status."""

    def check(jobs: Sequence[Job], status: JobStatus) -> bool:
        return all(read(job.id).job.status == status for job in jobs)

    return check


@pytest.fixture
def change(database: Database) -> Callable[..., None]:
    """Changes the request of a stored generation."""

    def change_one(job_id: uuid.UUID, **values: object) -> None:
        with database.write() as session:
            session.execute(update(Generation).where(Generation.job_id == job_id).values(**values))

    return change_one


PAGE = """<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>Text</title>
  </head>
  <body>
    <p>{}</p>
  </body>
</html>"""


def page_rows(count: int) -> list[tuple[str, str, str]]:
    """Return dataset rows of different lengths, most of which the starter model predicts exactly."""
    words = ["Tea", "Bread and jam", "Jam", "A large cup of milk", "Salt", "Rice", "Corn", "Figs and dates", "Leek"]
    names = [f"{words[number % len(words)]} {number}" for number in range(count)]
    return [(f"Give me a script that shows '{name}'.", "", PAGE.format(name)) for name in names]


@pytest.fixture
def submit_evaluation(
    database: Database, make_key: Callable[[Role], tuple[ApiKey, str]], make_dataset: Callable[..., Dataset]
) -> Callable[..., uuid.UUID]:
    """Stores a queued evaluation as the API would, without publishing it. Default: the starter model on six rows."""
    key, _ = make_key(Role.USER)
    datasets: dict[int, Dataset] = {}

    def one(count: int = 6, model: str = "starter", max_attempts: int = 3, **values: object) -> uuid.UUID:
        if count not in datasets:
            datasets[count] = make_dataset(page_rows(20), name=f"pages-{count}", test=page_rows(count))
        with database.write() as session:
            registered = models.get_by_name(session, model)
            moment = now(session)
            job = Job(
                id=uuid7(),
                kind=JobKind.EVALUATION,
                api_key_id=key.id,
                max_attempts=max_attempts,
                created_at=moment,
                published_at=moment,
            )
            defaults: dict[str, object] = {
                "dataset_id": datasets[count].id,
                "split": Split.TEST,
                "rows": count,
                "metrics": list(Metric),
                "temperature": 0.0,
                "top_p": 1.0,
                "top_k": 0,
                "stop": [],
            }
            row = Evaluation(
                job_id=job.id,
                model_id=registered and registered.id,
                model_name=model,
                **defaults | values,
            )
            jobs.add(session, job, row)
        return job.id

    return one


@pytest.fixture
def read_evaluation(database: Database) -> Callable[[uuid.UUID], EvaluationRow]:
    def one(job_id: uuid.UUID) -> EvaluationRow:
        with database.read() as session:
            row = evaluations.get(session, job_id)
        assert row is not None
        return row

    return one
