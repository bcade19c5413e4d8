from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from redis import RedisError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from api.dependencies import DatabaseDep
from db.tables import JobKind
from workers import queue

router = APIRouter(tags=["health"])


class Health(BaseModel):
    status: str = Field(examples=["ok"])


class Readiness(BaseModel):
    ready: bool
    database: bool
    redis: bool
    workers: dict[JobKind, int] = Field(description="Live workers of each queue.")


_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": Readiness, "description": "Something is missing."}}


@router.get("/healthz")
def healthz() -> Health:
    """200 as long as this process answers. For a load balancer: jobs are taken even where `/readyz` says 503."""
    return Health(status="ok")


@router.get("/readyz", responses=_NOT_READY)
def readyz(response: Response, database: DatabaseDep) -> Readiness:
    """Whether a job submitted now would run now: database, Redis, and a live worker on every queue."""
    workers = dict.fromkeys(JobKind, 0)
    try:
        with database.read() as session:
            database_answers = session.scalars(select(1)).one() == 1
    except SQLAlchemyError:
        database_answers = False
    try:
        workers = queue.live_workers()
        redis_answers = True
    except RedisError:
        redis_answers = False
    ready = database_answers and redis_answers and all(workers.values())
    if not ready:
        response.status_code = 503
    return Readiness(ready=ready, database=database_answers, redis=redis_answers, workers=workers)
