"""The Prometheus metrics of the API: what they show, who may read them, and what they cost."""

import re
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, update

from api.routes import metrics
from db.queries import jobs
from db.session import Database
from db.tables.datasets import Dataset
from db.tables.jobs import Job
from db.vocabulary import JobStatus, QueueName
from pagewright.cli.up.parts import free_port
from tests.api.conftest import Worker
from tests.api.helpers import PAGE, problem, submit, submit_batch
from workers import queue


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "CACHE_SECONDS", 0.0)


def scrape(client: TestClient) -> dict[str, float]:
    """Return the values by name and labels."""
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            labels = ",".join(sample.labels.values())
            values[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return values


def test_unfinished_jobs_are_counted_by_queue_kind_and_status(
    app_client: TestClient,
    as_user: TestClient,
    as_admin: TestClient,
    worker: Worker,
    database: Database,
    make_dataset: Callable[..., Dataset],
) -> None:
    assert scrape(app_client)["pagewright_jobs{generation,generation,queued}"] == 0
    assert scrape(app_client)["pagewright_queue_oldest_job_age_seconds{builds}"] == 0
    make_dataset([("Create a page.", "", PAGE)], name="pages")
    submit_batch(as_user, 3)
    running, done, old = (submit(as_user)["id"] for _ in range(3))
    worker.claim(running)
    worker.finish(done)
    as_admin.post("/v1/fine-tunes", json={"model": "starter", "dataset": "pages", "name": "new"})
    with database.write() as session:
        hour_ago = datetime.now(UTC) - timedelta(hours=1)
        session.execute(update(Job).where(Job.id == uuid.UUID(old)).values(created_at=hour_ago))
    values = scrape(app_client)
    assert values["pagewright_jobs{generation,generation,queued}"] == 4
    assert values["pagewright_jobs{generation,generation,running}"] == 1
    assert values["pagewright_jobs{fine_tune,builds,queued}"] == 1
    assert values["pagewright_jobs{merge,builds,queued}"] == 0
    assert values["pagewright_jobs{evaluation,evaluation,queued}"] == 0
    assert values["pagewright_queue_oldest_job_age_seconds{generation}"] >= 3600
    assert 0 < values["pagewright_queue_oldest_job_age_seconds{builds}"] < 3600
    assert values["pagewright_queue_oldest_job_age_seconds{evaluation}"] == 0


def test_submitted_and_finished_jobs_are_counted(as_user: TestClient, app_client: TestClient, worker: Worker) -> None:
    before = scrape(app_client)
    batch = submit_batch(as_user, 3)
    job = submit(as_user, seed=1)["id"]
    for _ in range(2):
        as_user.post(f"/v1/jobs/{job}/cancel")
    worker.claim(batch["job_ids"][0])
    as_user.post(f"/v1/jobs/{batch['job_ids'][0]}/cancel")
    after = scrape(app_client)
    changed = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert changed["pagewright_jobs_submitted_total{generation}"] == 4
    assert changed["pagewright_jobs_ended_total{generation,cancelled}"] == 1
    assert changed["pagewright_http_requests_total{POST,/v1/jobs/{job}/cancel,200}"] == 3
    assert changed["pagewright_http_request_duration_seconds_count{POST,/v1/jobs/{job}/cancel}"] == 3


def test_workers_are_counted_and_unavailable_services_are_shown(
    app_client: TestClient, configure: Callable[..., None]
) -> None:
    queue.announce("a", [QueueName.BUILDS])
    values = scrape(app_client)
    assert (values["pagewright_database_up"], values["pagewright_redis_up"]) == (1, 1)
    assert (values["pagewright_workers{builds}"], values["pagewright_workers{generation}"]) == (1, 0)
    queue.withdraw("a", [QueueName.BUILDS])

    configure(database_url=f"postgresql://nobody@127.0.0.1:{free_port()}/nothing")
    values = scrape(app_client)
    assert (values["pagewright_database_up"], values["pagewright_redis_up"]) == (0, 1)
    assert not [name for name in values if name.startswith(("pagewright_jobs{", "pagewright_queue"))]
    assert values["pagewright_workers{builds}"] == 0


def test_a_configured_token_is_required(app_client: TestClient, configure: Callable[..., None]) -> None:
    configure(metrics_token="secret-of-prometheus")
    for header in (None, "Bearer", "Bearer x", "secret-of-prometheus", "Bearer secret-of-prometheus ü"):
        sent = {} if header is None else {b"Authorization": header.encode("latin-1")}
        problem(app_client.get("/metrics", headers=sent), 401, "unauthenticated")
    response = app_client.get("/metrics", headers={"Authorization": "Bearer secret-of-prometheus"})
    assert response.status_code == 200
    assert "secret" not in response.text


def test_frequent_scrapes_query_the_database_once(
    app_client: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "CACHE_SECONDS", 60.0)
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    for _ in range(5):
        scrape(app_client)
    assert sum("count(" in statement for statement in statements) == 2


def test_concurrent_scrapes_query_the_database_once(
    app_client: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "CACHE_SECONDS", 60.0)
    slow: list[str] = []

    def be_slow(*arguments: Any) -> None:
        if "count(" in arguments[2]:
            slow.append(arguments[2])
            time.sleep(0.3)

    event.listen(database.engine, "before_cursor_execute", be_slow)
    with ThreadPoolExecutor(5) as clients:
        list(clients.map(scrape, [app_client] * 5))
    assert len(slow) == 2


def test_finished_jobs_are_not_read(database: Database, submit_jobs: Callable[..., list[Job]]) -> None:
    """Both statements use an index with unfinished jobs only."""
    submit_jobs(2000)
    with database.write() as session:
        session.execute(update(Job).values(status=JobStatus.SUCCEEDED, finished_at=datetime.now(UTC)))
    submit_jobs(2)
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    with database.write() as session:
        execute = session.connection().exec_driver_sql
        execute("ANALYZE")
        assert [live.count for live in jobs.live_counts(session)] == [2]
        explain = "EXPLAIN" if session.get_bind().dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
        counts = [statement for statement in statements if "count(" in statement]
        plans = [str(execute(f"{explain} {statement}").all()) for statement in counts]
    assert len(plans) == 2
    for plan in plans:
        assert re.search("ix_jobs_(queued|running|status)", plan), plan
        assert not re.search("Seq Scan|SCAN jobs(?! USING)", plan), plan
