"""The FastAPI application. `uvicorn --factory api.app:create_app` serves it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api import errors
from api.body_limit import BodyLimit
from api.routes import api_keys, generations, health, jobs, models
from api.waiting import Watcher
from db.session import get_database
from settings import get_settings


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.watcher = Watcher(get_database(), get_settings().watch_seconds)
    watching = asyncio.create_task(app.state.watcher.run())
    yield
    watching.cancel()


def create_app() -> FastAPI:
    app = FastAPI(
        title="Pagewright",
        version="0.1.0",
        description="A self-hosted job server for language models that write HTML.",
        lifespan=_lifespan,
    )
    errors.install(app)
    app.add_middleware(BodyLimit, max_bytes=get_settings().max_body_bytes)
    for resource in (generations, jobs, models, api_keys, health):
        app.include_router(resource.router)
    return app
