"""Jobs show that they wait for their model, as long as they do."""

import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

import models.starter
from db.queries import models as model_queries
from db.queries.evaluations import EvaluationRow
from db.queries.generations import GenerationRow
from db.session import Database
from db.tables.jobs import Job
from db.tables.models import Model
from db.vocabulary import JobStatus, ModelKind
from models.loading.loader import describe
from models.loading.refs import ModelRef, Source
from models.serving.pool import ModelPool
from pagewright.settings import get_settings
from tests.databases import on_sqlite
from tests.processes import LIMIT_SECONDS, eventually
from workers.inference.engines import borrow_engine
from workers.inference.evaluation import evaluate
from workers.inference.generation import generate
from workers.roles import WorkerRole
from workers.runtime import Runtime

pytestmark = on_sqlite

STARTER = ModelRef(Source.BUNDLED, "starter")


@pytest.fixture
def runtime(database: Database) -> Iterator[Runtime]:
    """A worker with memory for one model: another one is loaded only when nobody uses the first."""
    pool = ModelPool(memory_budget_bytes=2 * 2 * describe(STARTER).weight_bytes, device="cpu")
    yield Runtime(get_settings(), database, WorkerRole.INFERENCE, pool)
    pool.close()


@pytest.fixture
def other(make_model: Callable[..., Model], tmp_path: Path) -> Model:
    folder = tmp_path / "other"
    folder.mkdir()
    for file in models.starter.FOLDER.iterdir():
        if file.suffix in (".json", ".safetensors"):
            shutil.copy(file, folder)
    return make_model("other", folder, ModelKind.FULL)


def test_every_job_that_waits_for_a_load_says_so_until_it_has_the_engine(
    runtime: Runtime,
    other: Model,
    submit_jobs: Callable[..., list[Job]],
    change: Callable[..., None],
    read: Callable[[uuid.UUID], GenerationRow],
    submit_evaluation: Callable[..., uuid.UUID],
    read_evaluation: Callable[[uuid.UUID], EvaluationRow],
) -> None:
    together, alone = submit_jobs(2), submit_jobs(1)
    for job in together + alone:
        change(job.id, model_id=other.id, max_new_tokens=3)
    evaluation = submit_evaluation(model="other", rows=1, max_new_tokens=3)
    threads = [
        threading.Thread(target=generate, args=[runtime, *(job.id for job in together)]),
        threading.Thread(target=generate, args=[runtime, alone[0].id]),
        threading.Thread(target=evaluate, args=[runtime, evaluation]),
    ]

    def current() -> list[Job]:
        return [*(read(job.id).job for job in together + alone), read_evaluation(evaluation).job]

    with ExitStack() as stack:
        stack.enter_context(runtime.pool.borrow(STARTER))
        for thread in threads:
            thread.start()
        eventually(lambda: all(job.loading_since for job in current()), "all jobs say that they wait")
        assert {job.status for job in current()} == {JobStatus.RUNNING}
        together_since = {read(job.id).job.loading_since for job in together}
        assert len(together_since) == 1, "the jobs of a message are written at once"
    for thread in threads:
        thread.join(LIMIT_SECONDS)
    assert [(job.status, job.loading_since) for job in current()] == [(JobStatus.SUCCEEDED, None)] * 4


def test_a_job_that_has_its_engine_does_not_wait_for_it(
    runtime: Runtime, submit_jobs: Callable[..., list[Job]], read: Callable[[uuid.UUID], GenerationRow]
) -> None:
    [job] = submit_jobs()
    leases = runtime.leases.claim([job.id], 60)
    with runtime.database.read() as session:
        starter = model_queries.get_by_name(session, "starter")
    assert starter is not None
    written: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE jobs"):
            written.append(statement)

    event.listen(runtime.database.engine, "before_cursor_execute", note)
    for _ in range(2):
        with borrow_engine(runtime, starter, None, leases):
            running = read(job.id).job
            assert (running.status, running.loading_since) == (JobStatus.RUNNING, None)
    assert len(written) == 2, "the second time the engine is there, and nothing is written"
