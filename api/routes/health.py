import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from anyio import to_thread
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from redis import RedisError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from api.dependencies import DatabaseDep
from db.vocabulary import QueueName
from workers import queue

log = logging.getLogger(__name__)

T = TypeVar("T")
ANSWER_SECONDS = 3.0

router = APIRouter(tags=["health"])


class Health(BaseModel):
    status: str = Field(examples=["ok"])


class Readiness(BaseModel):
    ready: bool
    database: bool
    redis: bool
    workers: dict[QueueName, int] = Field(description="Live workers of each queue.")


_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": Readiness, "description": "Something is missing."}}


@router.get("/healthz")
def healthz() -> Health:
    """200 as long as this process answers. For a load balancer: jobs are taken even where `/readyz` says 503."""
    return Health(status="ok")


@router.get("/readyz", responses=_NOT_READY)
async def readyz(response: Response, database: DatabaseDep) -> Readiness:
    """Whether a job submitted now would run now: database, Redis, and a live worker on every queue."""

    def ask_database() -> bool:
        with database.read() as session:
            return bool(session.scalars(select(1)).one())

    database_answers, workers = await asyncio.gather(answer(ask_database), answer(queue.live_workers))
    ready = bool(database_answers and workers and all(workers.values()))
    if not ready:
        response.status_code = 503
    return Readiness(
        ready=ready,
        database=bool(database_answers),
        redis=workers is not None,
        workers=workers or dict.fromkeys(QueueName, 0),
    )


async def answer(ask: Callable[[], T]) -> T | None:
    """What `ask` returns; None if it fails or takes too long, and is then left to end by itself."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await to_thread.run_sync(ask, abandon_on_cancel=True)
    except (TimeoutError, SQLAlchemyError, RedisError, OSError) as error:
        log.warning("not ready: %r", error)
        return None
