"""The log lines and metrics of a worker process that has run jobs."""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from db import job_transitions
from db.queries.generations import GenerationRow
from db.session import Database
from db.tables.jobs import Job
from db.vocabulary import ErrorType, JobKind, JobStatus, QueueName
from pagewright.cli.up.parts import free_port
from pagewright.telemetry import JOBS_ENDED, LEASES_LOST, RECONCILED
from tests.databases import on_sqlite
from tests.processes import eventually, running
from workers import queue, telemetry
from workers.leases import Interrupt, Leases
from workers.reconciler import reconcile

SECRET_PROMPT = "a prompt that must not be logged"


def scraped(port: int) -> dict[tuple[str, str], float]:
    """Return the values by the metric\'s name and the value of its first label."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").raise_for_status().text
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@on_sqlite
def test_a_worker_logs_job_ids_and_serves_metrics(
    database: Database,
    submit_jobs: Callable[..., list[Job]],
    submit_evaluation: Callable[..., uuid.UUID],
    change: Callable[..., None],
    read: Callable[[uuid.UUID], GenerationRow],
    tmp_path: Path,
) -> None:
    done, failing = submit_jobs(2)
    for job, limit in ((done, 20), (failing, 100_000)):
        change(job.id, prompt=SECRET_PROMPT, max_new_tokens=limit)
    evaluation = submit_evaluation(count=2, max_new_tokens=5)
    log, port = tmp_path / "log", free_port()

    def over() -> bool:
        statuses = [read(job.id).job.status for job in (done, failing)]
        with database.read() as session:
            evaluated = session.get(Job, evaluation)
        assert evaluated is not None
        return [*statuses, evaluated.status] == [JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.SUCCEEDED]

    with running("worker", log=log, worker_metrics_port=port, log_level="DEBUG") as first:
        eventually(lambda: queue.live_workers()[QueueName.GENERATION] > 0, "a worker")
        assert queue.publish(JobKind.GENERATION, [done.id, failing.id])
        assert queue.publish(JobKind.EVALUATION, [evaluation])
        eventually(over, "the end of the jobs")
        metrics = scraped(port)
        with running("worker", "--role", "build", log=log, worker_metrics_port=port):
            eventually(lambda: f":{port + 1}/metrics" in log.read_text(), "the metrics of a second worker")
            beside = scraped(port + 1)
        first.terminate()
        assert first.wait() == 0

    lines: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    [failed] = [line for line in lines if ErrorType.INVALID_REQUEST in line["message"]]
    assert (failed["job_id"], failed["attempt"]) == (str(failing.id), 1)
    assert "job_ids" not in failed
    loading = [line for line in lines if line["logger"] == "models.serving.pool"]
    assert loading
    both = [str(done.id), str(failing.id)]
    assert all(line.get("job_ids") == both or line.get("job_id") == str(evaluation) for line in loading)
    assert SECRET_PROMPT not in log.read_text()

    tokens = read(done.id).generation.completion_tokens
    assert metrics["pagewright_completion_tokens_total", "generation"] == tokens
    assert metrics["pagewright_prompt_tokens_total", "generation"] > 0
    assert 2 <= metrics["pagewright_completion_tokens_total", "evaluation"] <= 10
    assert metrics["pagewright_claim_latency_seconds_count", "generation"] == 2
    assert metrics["pagewright_claim_latency_seconds_sum", "generation"] > 0
    assert metrics["pagewright_engines", ""] == 1
    assert metrics["pagewright_engine_slots", ""] == 64
    assert metrics["pagewright_engine_running_requests", ""] == 0
    assert 0 < metrics["pagewright_engine_cache_bytes", ""] < metrics["pagewright_model_memory_bytes", ""]
    assert metrics["process_resident_memory_bytes", ""] > 0
    assert ("pagewright_engines", "") not in beside
    assert beside["pagewright_leases_lost_total", ""] == 0


def test_lost_leases_and_reconciler_actions_are_counted(
    database: Database, submit_jobs: Callable[..., list[Job]]
) -> None:
    def counted() -> list[float]:
        kind = JobKind.GENERATION
        series = [RECONCILED.labels(action, kind) for action in ("requeued", "failed", "resent")]
        ends = [
            JOBS_ENDED.labels(kind, status) for status in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)
        ]
        return [each._value.get() for each in (*series, *ends, LEASES_LOST)]

    before = counted()
    well, lost, dropped, resent, cancelled = submit_jobs(5)
    [exhausted] = submit_jobs(max_attempts=1)
    leases = Leases(database, "a", lease_seconds=30)
    held = leases.claim([well.id, lost.id, dropped.id], 60)
    with database.write() as session:
        job_transitions.claim(session, [exhausted.id], worker="b", lease_seconds=-1)
        job_transitions.extend(session, [lease.claim for lease in held[1:]], lease_seconds=-1)
        session.execute(update(Job).where(Job.id == resent.id).values(published_at=datetime(2020, 1, 1, tzinfo=UTC)))
    reconcile(database, grace_seconds=10)
    leases.heartbeat()
    assert [lease.interrupted for lease in held] == [None, *[Interrupt.LEASE_LOST] * 2]
    leases.finish(held[:2], None)
    leases.lose(held[2:])
    given_back = leases.claim([cancelled.id], 60)
    with database.write() as session:
        job_transitions.request_cancel(session, cancelled.id)
    leases.give_back(given_back)
    assert leases.held() == []
    assert [after - early for early, after in zip(before, counted(), strict=True)] == [2, 1, 1, 1, 1, 1, 2]


def test_serving_metrics_fails_if_no_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "PORTS", 1)
    port = free_port()
    assert telemetry.serve("127.0.0.1", port, None) == port
    with pytest.raises(OSError, match="in use"):
        telemetry.serve("127.0.0.1", port, None)
