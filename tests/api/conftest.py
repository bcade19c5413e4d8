"""A stand-in for the worker, and the API on a real socket."""

import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from starlette.types import Message, Receive, Scope, Send

from api.app import create_app
from api.server import connections
from api.waiting import Watcher
from db import job_transitions
from db.job_transitions import Claim
from db.queries import generations
from db.queries.generations import Completed
from db.session import Database
from db.tables.api_keys import ApiKey
from db.tables.datasets import Dataset
from db.vocabulary import ErrorType, Role
from pagewright.artifacts import get_artifacts
from pagewright.settings import get_settings
from tests.api.helpers import PAGE
from tests.processes import LIMIT_SECONDS, eventually

TEMPLATE = "{{ messages[0]['content'] }}"


class Worker:
    """Changes jobs as a worker does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, *job_ids: str) -> list[Claim]:
        with self._database.write() as session:
            ids = [uuid.UUID(job_id) for job_id in job_ids]
            claims = job_transitions.claim(session, ids, worker="a test", lease_seconds=60)
        assert len(claims) == len(job_ids)
        return claims

    def set_loading(self, claims: list[Claim], *, loading: bool = True) -> None:
        with self._database.write() as session:
            job_transitions.set_loading(session, claims, loading=loading)

    def succeed(self, claims: list[Claim], completion: str = PAGE, extract: str = "none") -> None:
        result = Completed(completion, "stop", 7, 11, "pagewright-1", TEMPLATE, extract, "some", "1")
        with self._database.write() as session:
            generations.store(session, {claim.job_id: result for claim in claims})
            assert len(job_transitions.succeed(session, claims)) == len(claims)

    def fail(self, claims: list[Claim], message: str = "no luck") -> None:
        with self._database.write() as session:
            assert len(job_transitions.fail(session, claims, ErrorType.MODEL_UNAVAILABLE, message)) == len(claims)

    def cancel(self, claims: list[Claim], completion: str) -> None:
        result = Completed(completion, "cancelled", 7, 2, "pagewright-1", TEMPLATE, "none", "some", "1")
        with self._database.write() as session:
            generations.store(session, {claim.job_id: result for claim in claims})
            assert len(job_transitions.cancel(session, claims)) == len(claims)

    def finish(self, *job_ids: str, completion: str = PAGE, extract: str = "none") -> None:
        self.succeed(self.claim(*job_ids), completion, extract)


@cache
def _documented_paths() -> Any:
    return create_app().openapi()["paths"]


@pytest.fixture
def app_client(app_client: TestClient) -> Iterator[TestClient]:
    """A client without a key. Every status that the API answers in a test must be in its OpenAPI document."""
    app = cast(FastAPI, app_client.app)
    serve = app.middleware_stack
    assert serve is not None
    undocumented: set[tuple[str, str, int]] = set()

    async def observe(scope: Scope, receive: Receive, send: Send) -> None:
        async def observed_send(message: Message) -> None:
            route = scope.get("route")
            if message["type"] == "http.response.start" and isinstance(route, APIRoute) and route.include_in_schema:
                method, path, status = scope["method"], route.path_format, message["status"]
                documented = _documented_paths()[path].get(method.lower(), {}).get("responses", {})
                # `default` in the document stands for 405 and 500, which any operation may answer.
                if method != "HEAD" and status not in (405, 500) and str(status) not in documented:
                    undocumented.add((method, path, status))
            await send(message)

        await serve(scope, receive, observed_send)

    app.middleware_stack = observe
    yield app_client
    assert not undocumented


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


@dataclass(frozen=True)
class Server:
    port: int
    watcher: Watcher
    keys: dict[Role, str]

    def client(self, role: Role = Role.USER) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.keys[role]}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=LIMIT_SECONDS)


@pytest.fixture
def server(database: Database, make_key: Callable[[Role], tuple[ApiKey, str]]) -> Iterator[Server]:
    """The API as it is deployed, on a socket, for tests that need a real connection."""
    app = create_app()
    runner = uvicorn.Server(uvicorn.Config(app, **connections.OPTIONS | {"timeout_graceful_shutdown": 1}))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=runner.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: runner.started)
            yield Server(listener.getsockname()[1], app.state.watcher, {role: make_key(role)[1] for role in Role})
        finally:
            runner.should_exit = True
            thread.join()


def until(condition: Callable[[], object]) -> None:
    eventually(condition, "the condition became true", pause=0.005)


@pytest.fixture
def nothing_is_stored(database: Database) -> Iterator[None]:
    yield
    with database.read() as session:
        assert session.scalars(select(func.count()).select_from(Dataset)).one() == 0
    assert get_artifacts().list("datasets") == []


@pytest.fixture
def silent_port() -> Iterator[int]:
    """The port of a server that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def redis_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the queue connect to Redis at another port."""

    def move(port: int) -> None:
        monkeypatch.setattr(get_settings(), "redis_url", f"redis://127.0.0.1:{port}/0")

    return move
