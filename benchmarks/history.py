"""Store a long history of jobs in the database, and measure the frequent queries with it."""

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import httpx
from sqlalchemy import Connection, event, text

from benchmarks.serving import serving
from db import job_transitions
from db.queries import evaluations, generations, jobs, predictions
from db.queries.job_names import Named
from db.session import Database
from db.vocabulary import ErrorType, JobKind, JobStatus

MEASURED = 200
JOBS_PER_EVALUATION = 1000
FIRST_EVALUATIONS = 100
"""Minimum number of evaluations, so that a page of the list is full for any size of the history."""
PREDICTIONS = 100
PAGE = 50

# One job per second, the newest now. uuidv7() gives time-ordered keys like those that the API creates.
_JOBS = """
insert into jobs (id, kind, status, api_key_id, attempt, max_attempts, cancel_requested, created_at, published_at,
                  started_at, finished_at)
select uuidv7(make_interval(secs => number - :until)), :kind, 'succeeded', :key, 1, 3, false,
       now(), now(), now(), now()
from generate_series(CAST(:since AS integer), CAST(:until AS integer), CAST(:step AS integer)) as number
returning id"""
_GENERATIONS = f"""
with new_jobs as ({_JOBS})
insert into generations (job_id, model_id, prompt, input, completion, finish_reason, prompt_tokens, completion_tokens,
                         temperature, top_p, top_k, stop)
select id, :model, 'Create a page titled One.', '', repeat('<p>One</p>', 20), 'stop', 9, 70, 0, 1, 0, '[]'
from new_jobs"""
_EVALUATIONS = f"""
with new_jobs as ({_JOBS}), new_evaluations as (
    insert into evaluations (job_id, model_id, model_name, dataset_id, split, rows, rows_done, metrics,
                             temperature, top_p, top_k, stop)
    select id, :model, 'starter', :dataset, 'test', {PREDICTIONS}, {PREDICTIONS}, '["exact_match"]', 0, 1, 0, '[]'
    from new_jobs)
insert into predictions (job_id, row, prompt, input, completion, reference, finish_reason, latency_seconds, exact_match,
                         created_at)
select id, row, 'Create a page titled One.', '', repeat('<p>One</p>', 20), 'One', 'stop', 0.1, row % 2, now()
from new_jobs, generate_series(0, {PREDICTIONS - 1}) as row"""


@dataclass(frozen=True)
class Costs:
    """Median seconds by query, and PostgreSQL's plan of each."""

    medians: dict[str, float]
    plans: dict[str, list[str]]


def costs_of_history(sizes: list[int]) -> dict[int, Costs]:
    """Return the costs for each number of stored jobs. The same history grows from size to size."""
    costs = {}
    with serving() as stack, stack.client() as client:
        dataset = client.post("/v1/datasets", data={"name": "one"}, files={"file": ("one.jsonl", _ROW)}).json()["id"]
        database = Database(
            stack.environment["PAGEWRIGHT_DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
        )
        stored = 0
        for size in sizes:
            _grow(database, stored, size, uuid.UUID(dataset))
            stored = size
            costs[size] = _costs(client, database)
        database.engine.dispose()
    return costs


_ROW = b'{"instruction": "A page.", "output": "<p>One</p>"}\n'


def _grow(database: Database, since: int, until: int, dataset: uuid.UUID) -> None:
    with database.write() as session:
        key = session.execute(text("select id from api_keys limit 1")).scalar_one()
        model = session.execute(text("select id from models where name = 'starter'")).scalar_one()
        values = {"key": key, "model": model, "since": since + 1, "until": until}
        session.execute(text(_GENERATIONS), {**values, "kind": "generation", "step": 1})
        step = JOBS_PER_EVALUATION if since else max(1, until // FIRST_EVALUATIONS)
        session.execute(text(_EVALUATIONS), {**values, "kind": "evaluation", "step": step, "dataset": dataset})
    with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("vacuum analyze"))


def _costs(client: httpx.Client, database: Database) -> Costs:
    r = random.Random(1)
    with database.read() as session:
        sample = "select job_id from generations order by md5(job_id::text) limit 1000"
        ids = session.execute(text(sample)).scalars().all()
        evaluated = session.execute(text("select job_id from evaluations")).scalars().all()

    def get(path: Callable[[], str], **parameters: Any) -> Callable[[], None]:
        def once() -> None:
            client.get(path(), params=parameters).raise_for_status()

        return once

    requests = {
        "poll": get(lambda: f"/v1/generations/{r.choice(ids)}"),
        "list of generations": get(lambda: "/v1/generations", limit=PAGE),
        "list of generations, from the middle": get(lambda: "/v1/generations", limit=PAGE, after=sorted(ids)[500]),
        "list of jobs of a rare kind": get(lambda: "/v1/jobs", limit=PAGE, kind="fine-tune"),
        "list of jobs of a model": get(lambda: "/v1/jobs", limit=PAGE, model="starter"),
        "list of jobs by a name that none has": get(lambda: "/v1/jobs", limit=PAGE, name="nothing"),
        "list of jobs that are queued": get(lambda: "/v1/jobs", limit=PAGE, status="queued"),
        "list of evaluations": get(lambda: "/v1/evaluations", limit=PAGE),
        "page of predictions": get(lambda: f"/v1/evaluations/{r.choice(evaluated)}/predictions", limit=PAGE),
    }
    medians = {name: _median(once) for name, once in requests.items()}
    medians["claim"] = _claims(client, database)
    return Costs(medians, _plans(database, ids[0], evaluated[0]))


def _median(once: Callable[[], None], count: int = MEASURED) -> float:
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def _claims(client: httpx.Client, database: Database) -> float:
    body = {"items": [{"model": "starter", "prompt": "A page."}] * MEASURED}
    response = client.post("/v1/generations/batch", json=body)
    batch = response.json()["id"]
    with database.read() as session:
        waiting = [
            row.job.id
            for row in generations.page(
                session,
                owner=None,
                status=JobStatus.QUEUED,
                batch_id=uuid.UUID(batch),
                named=Named(),
                limit=MEASURED,
                after=None,
            ).items
        ]

    def once() -> None:
        with database.write() as session:
            [claim] = job_transitions.claim(session, [waiting.pop()], worker="benchmark", lease_seconds=60)
            claims.append(claim)

    claims: list[job_transitions.Claim] = []
    seconds = _median(once)
    with database.write() as session:
        job_transitions.fail(session, claims, ErrorType.TIME_LIMIT, "created by a benchmark")
    return seconds


def _plans(database: Database, job_id: uuid.UUID, evaluation: uuid.UUID) -> dict[str, list[str]]:
    page: dict[str, Any] = {"named": Named(), "limit": PAGE, "after": None}
    queries: dict[str, Callable[[Any], object]] = {
        "poll": lambda session: generations.get(session, job_id, owner=None),
        "list of generations": lambda session: generations.page(
            session, owner=None, status=None, batch_id=None, **page
        ),
        "list of generations, from the middle": lambda session: generations.page(
            session, owner=None, status=None, batch_id=None, **page | {"after": job_id}
        ),
        "list of jobs of a rare kind": lambda session: jobs.page(
            session, owner=None, status=None, kind=JobKind.FINE_TUNE, batch_id=None, **page
        ),
        "list of jobs of a model": lambda session: jobs.page(
            session, owner=None, status=None, kind=None, batch_id=None, **page | {"named": Named(model="starter")}
        ),
        "list of evaluations": lambda session: evaluations.page(
            session, status=None, sort=None, descending=False, **page
        ),
        "page of predictions": lambda session: predictions.page(
            session, evaluation, predictions.Filter(), sort=None, descending=False, limit=PAGE, after=None
        ),
        "claim": lambda session: job_transitions.claim(session, [job_id], worker="benchmark", lease_seconds=60),
        "expired leases": job_transitions.requeue_expired,
    }
    return {name: _explained(database, query) for name, query in queries.items()}


def _explained(database: Database, query: Callable[[Any], object]) -> list[str]:
    """Return PostgreSQL's plans of the statements that `query` executes."""
    plan: list[str] = []

    def explain(connection: Connection, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if statement.lower().startswith(("select", "update")) and "clock_timestamp" not in statement:
            other = connection.connection.cursor()
            other.execute(f"explain (costs off) {statement}", parameters)
            plan.extend(row[0] for row in other.fetchall())

    event.listen(database.engine, "before_cursor_execute", explain)
    try:
        with database.read() as session:
            query(session)
            session.rollback()
    finally:
        event.remove(database.engine, "before_cursor_execute", explain)
    return plan
