"""The FastAPI application. `pagewright api` serves it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from api import errors
from api.routes import (
    api_keys,
    datasets,
    evaluations,
    fine_tunes,
    generations,
    health,
    jobs,
    leaderboard,
    metrics,
    models,
    quantizations,
)
from api.server.body_limit import BodyLimit
from api.server.request_log import RequestLog
from api.waiting import Watcher
from db.session import get_database
from db.vocabulary import FINAL_STATUSES, JobKind
from pagewright.settings import get_settings
from pagewright.telemetry import start_series
from pagewright.work_folders import remove_abandoned


class HeadAsGet:
    """HEAD is answered as GET is; that the body stays behind is the HTTP server's work.

    An endpoint whose body is work to make finds `head` in the scope, and may leave it out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        as_get = {**scope, "method": "GET", "head": True}
        try:
            await self.app(as_get, receive, send)
        finally:
            scope.update({name: as_get[name] for name in ("route", "path_params") if name in as_get})


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        schema = super().openapi()
        schema["components"]["schemas"].update(errors.problem_schemas())
        return schema

    def build_middleware_stack(self) -> ASGIApp:
        # around all of it, the answer to an unforeseen exception included
        return RequestLog(super().build_middleware_stack())


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    remove_abandoned(get_settings().uploads)
    app.state.watcher = Watcher(get_database(), get_settings().watch_seconds)
    watching = asyncio.create_task(app.state.watcher.run())
    yield
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


def create_app() -> FastAPI:
    app = _Application(
        title="Pagewright",
        version=version("pagewright"),
        description="A self-hosted job server for language models that write HTML.",
        responses=errors.ANY_PROBLEM,
        redirect_slashes=False,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        lifespan=_lifespan,
    )
    start_series(JobKind, FINAL_STATUSES)
    errors.install(app)
    settings = get_settings()
    uploads = {("POST", datasets.router.prefix): settings.max_upload_bytes}
    app.add_middleware(
        BodyLimit, max_bytes=settings.max_body_bytes, exceptions=uploads, slow_seconds=settings.slow_client_seconds
    )
    app.add_middleware(HeadAsGet)
    for resource in (
        generations,
        evaluations,
        leaderboard,
        datasets,
        fine_tunes,
        quantizations,
        jobs,
        models,
        api_keys,
        health,
        metrics,
    ):
        app.include_router(resource.router)
    return app
