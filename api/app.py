"""The FastAPI application, which `pagewright api` serves."""

import asyncio
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

import api.routes
from api import errors
from api.queued_jobs import LiveWorkers
from api.routes import datasets
from api.server import docs_page
from api.server.body_limit import BodyLimit
from api.server.head_as_get import HeadAsGet
from api.server.request_log import RequestLog
from api.waiting import Watcher
from db.session import get_database
from db.vocabulary import FINAL_STATUSES, JobKind
from pagewright.settings import get_settings
from pagewright.telemetry import start_series
from pagewright.work_folders import remove_abandoned

DESCRIPTION = """A self-hosted job server for language models that write HTML.

Every operation below `/v1` requires an API key in the header `Authorization: Bearer <key>`. Generations, evaluations,
fine-tunes, merges and quantizations are jobs: submitting one returns its id, and `GET /v1/jobs/{job}` its status.
`Prefer: wait=N` waits for the job, and `GET /v1/jobs/{job}/events` streams its changes. Errors are problem documents
(RFC 9457) with a stable `type`.
"""

OTHER_PATHS = ["/docs", "/openapi.json"]


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        schemas = document["components"]["schemas"]
        schemas.update(errors.problem_schemas())
        for schema in schemas.values():
            if "enum" in schema:
                schema.pop("description", None)  # the enum's docstring, which is written for developers
        return document

    def build_middleware_stack(self) -> ASGIApp:
        # The outermost layer, so that it also logs the response to an unexpected exception.
        return RequestLog(super().build_middleware_stack())


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    remove_abandoned(get_settings().uploads)
    app.state.live_workers = LiveWorkers()
    app.state.watcher = Watcher(get_database(), get_settings().watch_seconds)
    watching = asyncio.create_task(app.state.watcher.run())
    yield
    app.state.live_workers.close()
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


def create_app() -> FastAPI:
    """Return a new application that uses the current settings."""
    modules = _route_modules()
    app = _Application(
        title="Pagewright",
        version=version("pagewright"),
        description=DESCRIPTION,
        openapi_tags=_tags(modules),
        # The name of the endpoint's function is the operation's id.
        generate_unique_id_function=lambda route: route.name,
        responses=errors.ANY_PROBLEM,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    start_series(JobKind, FINAL_STATUSES)
    errors.install(app)
    settings = get_settings()
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.max_body_bytes,
        exceptions={("POST", datasets.router.prefix): settings.max_upload_bytes},
        slow_seconds=settings.slow_client_seconds,
    )
    app.add_middleware(HeadAsGet)
    for module in modules:
        app.include_router(module.router)
    docs_page.install(app)
    app.state.paths = [route.path_format for module in modules for route in module.router.routes] + OTHER_PATHS
    return app


def _route_modules() -> list[ModuleType]:
    """Return the modules of `api.routes`, sorted by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(api.routes.__path__))
    return [import_module(f"{api.routes.__name__}.{name}") for name in names]


def _tags(modules: list[ModuleType]) -> list[dict[str, str]]:
    """Return the OpenAPI tags. The docstring of the first module with a tag describes it."""
    tags: dict[str, str] = {}
    for module in modules:
        tags.setdefault(module.router.tags[0], module.__doc__ or "")
    return [{"name": name, "description": description} for name, description in tags.items()]
