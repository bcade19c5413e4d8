"""Health checks and Prometheus metrics. They require no API key."""

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
"""How long the database and Redis have to answer a health check."""

router = APIRouter(tags=["health"])


class Health(BaseModel):
    status: str = Field(examples=["ok"])


class Readiness(BaseModel):
    ready: bool = Field(description="Whether a job submitted now would run now.")
    database: bool = Field(description="Whether the database answers.")
    redis: bool = Field(description="Whether Redis answers.")
    workers: dict[QueueName, int] = Field(description="The number of live workers of each queue.")


_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": Readiness, "description": "A part is not available."}}


@router.get("/healthz", summary="Check that the API is alive")
def get_health() -> Health:
    """Return 200 while this process answers.

    Load balancers should use this check rather than `/readyz`: jobs can be submitted while `/readyz` returns 503.
    """
    return Health(status="ok")


@router.get("/readyz", summary="Check that jobs can run", responses=_NOT_READY)
async def get_readiness(response: Response, database: DatabaseDep) -> Readiness:
    """Return 200 if the database and Redis answer and every queue has a live worker, and 503 otherwise."""

    def query_database() -> bool:
        with database.read() as session:
            return bool(session.scalars(select(1)).one())

    database_answers, workers = await asyncio.gather(answer_of(query_database), answer_of(queue.live_workers))
    ready = bool(database_answers and workers and all(workers.values()))
    if not ready:
        response.status_code = 503
    return Readiness(
        ready=ready,
        database=bool(database_answers),
        redis=workers is not None,
        workers=workers or dict.fromkeys(QueueName, 0),
    )


async def answer_of(check: Callable[[], T]) -> T | None:
    """Return what `check` returns, or None if it fails or takes longer than ANSWER_SECONDS.

    A check that takes too long goes on in its thread; its result is dropped.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await to_thread.run_sync(check, abandon_on_cancel=True)
    except (TimeoutError, SQLAlchemyError, RedisError, OSError) as error:
        log.warning("a health check failed: %r", error)
        return None
