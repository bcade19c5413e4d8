"""A body larger than the limit is refused with 413, with or without a Content-Length."""

import json
import socket
from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from db.session import Database
from db.tables.api_keys import ApiKey
from db.vocabulary import Role
from tests.api.conftest import Server
from tests.api.helpers import REQUEST, problem, stored

LIMIT = 2000
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def database(database: Database, configure: Callable[..., None]) -> Database:
    """A small limit, set before the application is created."""
    configure(max_body_bytes=LIMIT)
    return database


def body_of(size: int) -> bytes:
    body = json.dumps(REQUEST | {"input": ""}).encode()
    return body.replace(b'"input": ""', b'"input": "' + b"x" * (size - len(body)) + b'"')


def pieces(body: bytes) -> Iterator[bytes]:
    """Sent in chunks, without a Content-Length."""
    for start in range(0, len(body), 700):
        yield body[start : start + 700]


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_a_body_of_exactly_the_limit_is_accepted(server: Server, database: Database, announced: bool) -> None:
    with server.client() as client:
        for size, status in (LIMIT, 202), (LIMIT + 1, 413), (LIMIT * 500, 413), (LIMIT, 202):
            body = body_of(size)
            response = client.post("/v1/generations", content=body if announced else pieces(body), headers=JSON)
            assert response.status_code == status, response.text
            if status == 413:
                assert str(LIMIT) in problem(response, 413, "too-large")["detail"]
    assert stored(database) == (2, 2)


@pytest.mark.parametrize("path", ["/v1/generations", "/v1/generations/batch", "/v1/models", "/v1/api-keys"])
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_the_limit_applies_to_every_operation(
    make_key: Callable[[Role], tuple[ApiKey, str]], database: Database, path: str, announced: bool
) -> None:
    body = body_of(LIMIT + 1)
    headers = JSON | {"Authorization": f"Bearer {make_key(Role.ADMIN)[1]}"}
    with TestClient(create_app(), raise_server_exceptions=False) as client:
        response = client.post(path, content=body if announced else pieces(body), headers=headers)
    problem(response, 413, "too-large")
    assert stored(database) == (0, 0)


def test_a_body_with_too_large_a_content_length_is_refused_before_it_is_sent(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(
            b"POST /v1/generations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000000000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
