import secrets
import time

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

from api.dependencies import DatabaseDep, SettingsDep
from api.errors import Problem, ProblemType, document_problems
from api.routes.health import answer
from db.queries import jobs
from db.queries.jobs import LiveCount
from db.session import Database
from db.vocabulary import JobKind, JobStatus, QueueName
from workers import queue

CACHE_SECONDS = 5.0
"""However often it is asked, the database and Redis are looked at no more often than this."""

JOBS = Gauge("pagewright_jobs", "Jobs that are not over.", ["queue", "kind", "status"])
OLDEST = Gauge("pagewright_queue_oldest_job_age_seconds", "Since the oldest queued job was submitted.", ["queue"])
WORKERS = Gauge("pagewright_workers", "Live workers that serve the queue.", ["queue"])
DATABASE_UP = Gauge("pagewright_database_up", "Whether the database answered the API.")
REDIS_UP = Gauge("pagewright_redis_up", "Whether Redis answered the API.")

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=PlainTextResponse, responses=document_problems(401))
async def metrics(request: Request, database: DatabaseDep, settings: SettingsDep) -> Response:
    """Prometheus metrics of this process, and of the queues. They name no model, user or job, and take no API key."""
    sent, wanted = request.headers.get("Authorization", ""), f"Bearer {settings.metrics_token}"
    if settings.metrics_token and not secrets.compare_digest(sent.encode(), wanted.encode()):
        detail = "send PAGEWRIGHT_METRICS_TOKEN in the header `Authorization: Bearer ...`"
        raise Problem(401, ProblemType.UNAUTHENTICATED, detail, headers={"WWW-Authenticate": "Bearer"})
    state = request.app.state
    if time.monotonic() > getattr(state, "metrics_expire", 0.0):
        state.metrics_expire = time.monotonic() + CACHE_SECONDS  # first, or all who ask meanwhile look, too
        await _look(database)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _look(database: Database) -> None:
    def ask_database() -> list[LiveCount]:
        with database.read() as session:
            return list(jobs.live_counts(session))

    counts, workers = await answer(ask_database), await answer(queue.live_workers)
    DATABASE_UP.set(counts is not None)
    REDIS_UP.set(workers is not None)
    for gauge in (JOBS, OLDEST, WORKERS):
        gauge.clear()  # what is not known is left out: a number would be a lie
    if counts is not None:
        _show(counts)
    for name, count in (workers or {}).items():
        WORKERS.labels(name).set(count)


def _show(counts: list[LiveCount]) -> None:
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
