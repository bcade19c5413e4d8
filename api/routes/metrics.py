"""Prometheus metrics."""

import secrets
import time

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

from api.dependencies import DatabaseDep, SettingsDep
from api.errors import Problem, ProblemType, document_problems
from api.routes.health import answer_of
from db.queries import jobs
from db.queries.jobs import LiveCount
from db.session import Database
from db.vocabulary import JobKind, JobStatus, QueueName
from workers import queue

CACHE_SECONDS = 5.0
"""The minimum time between two readings of the database and Redis, however often the metrics are scraped."""

JOBS = Gauge("pagewright_jobs", "Queued and running jobs.", ["queue", "kind", "status"])
OLDEST = Gauge("pagewright_queue_oldest_job_age_seconds", "Age of the oldest queued job in seconds.", ["queue"])
WORKERS = Gauge("pagewright_workers", "Live workers of the queue.", ["queue"])
DATABASE_UP = Gauge("pagewright_database_up", "1 if the database answers the API, else 0.")
REDIS_UP = Gauge("pagewright_redis_up", "1 if Redis answers the API, else 0.")

router = APIRouter(tags=["health"])


@router.get(
    "/metrics", summary="Get Prometheus metrics", response_class=PlainTextResponse, responses=document_problems(401)
)
async def get_metrics(request: Request, database: DatabaseDep, settings: SettingsDep) -> Response:
    """Get the metrics of this API process and of the queues, in Prometheus' text format.

    They contain no names of models, keys or jobs. If PAGEWRIGHT_METRICS_TOKEN is set, it is required as a bearer token.
    """
    sent, expected = request.headers.get("Authorization", ""), f"Bearer {settings.metrics_token}"
    if settings.metrics_token and not secrets.compare_digest(sent.encode(), expected.encode()):
        detail = "send the value of PAGEWRIGHT_METRICS_TOKEN in the header `Authorization: Bearer <token>`"
        raise Problem(401, ProblemType.UNAUTHENTICATED, detail, headers={"WWW-Authenticate": "Bearer"})
    state = request.app.state
    if time.monotonic() > getattr(state, "metrics_expire", 0.0):
        state.metrics_expire = (
            time.monotonic() + CACHE_SECONDS
        )  # set first, so that concurrent requests do not read too
        await _update(database)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _update(database: Database) -> None:
    def query_database() -> list[LiveCount]:
        with database.read() as session:
            return list(jobs.live_counts(session))

    counts, workers = await answer_of(query_database), await answer_of(queue.live_workers)
    DATABASE_UP.set(counts is not None)
    REDIS_UP.set(workers is not None)
    for gauge in (JOBS, OLDEST, WORKERS):
        gauge.clear()  # a value that is unknown now is left out instead of showing an old one
    if counts is not None:
        _set_jobs(counts)
    for name, count in (workers or {}).items():
        WORKERS.labels(name).set(count)


def _set_jobs(counts: list[LiveCount]) -> None:
    for kind in JobKind:
        for status in (JobStatus.QUEUED, JobStatus.RUNNING):
            JOBS.labels(kind.queue, kind, status).set(0)
    oldest: dict[QueueName, float] = dict.fromkeys(QueueName, 0.0)
    for live in counts:
        JOBS.labels(live.kind.queue, live.kind, live.status).set(live.count)
        if live.status == JobStatus.QUEUED:
            oldest[live.kind.queue] = max(oldest[live.kind.queue], live.oldest_seconds)
    for name, seconds in oldest.items():
        OLDEST.labels(name).set(seconds)
