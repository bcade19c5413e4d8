"""Slow, large or numerous clients take no connection, memory or thread for long, and keep nobody else out."""

import gzip
import json
import shutil
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from api.server.connections import MAX_HEAD_BYTES
from tests.api.helpers import REQUEST, problem
from tests.attacks.conftest import Api, running_api
from tests.processes import LIMIT_SECONDS, eventually

SLOW = 0.6
"""How many seconds a client may be behind the minimum rate of 1 kB/s."""

IDLE = 2.4
"""How many seconds a connection is kept after a response."""
MAX_CONNECTIONS = 30


@pytest.fixture(scope="module")
def api(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One API for all these tests."""
    folder = tmp_path_factory.mktemp("attacked")
    url = f"sqlite:///{shutil.copy(migrated_sqlite, folder)}"
    with running_api(
        url, folder, slow_client_seconds=SLOW, keep_alive_seconds=IDLE, max_connections=MAX_CONNECTIONS
    ) as api:
        yield api


@pytest.fixture
def lasting_connection(migrated_sqlite: Path, tmp_path: Path) -> Iterator[socket.socket]:
    """A connection to an API that keeps idle connections for longer than any test runs."""
    url = f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path)}"
    with (
        running_api(url, tmp_path, slow_client_seconds=SLOW, keep_alive_seconds=10 * LIMIT_SECONDS) as api,
        socket.create_connection(("127.0.0.1", api.port), timeout=LIMIT_SECONDS) as connection,
    ):
        yield connection


@pytest.fixture
def connect(api: Api) -> Iterator[Callable[[], socket.socket]]:
    with ExitStack() as opened:
        yield lambda: opened.enter_context(socket.create_connection(("127.0.0.1", api.port), timeout=LIMIT_SECONDS))


def head(api: Api, *headers: str, method: str = "POST", path: str = "/v1/generations") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {api.secret}", *headers]
    return "\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode()


def request_health(connection: socket.socket) -> None:
    """Send a request and receive its whole response."""
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    response = b""
    while not response.endswith(b'{"status":"ok"}'):
        received = connection.recv(4096)
        assert received, response
        response += received
    assert response.startswith(b"HTTP/1.1 200 ")


def drip(connection: socket.socket, piece: bytes) -> bytes:
    """Send the piece repeatedly until the server closes the connection, and return its response."""
    deadline = time.monotonic() + LIMIT_SECONDS
    connection.settimeout(0.02)
    answer = b""
    while time.monotonic() < deadline:
        try:
            connection.sendall(piece)
            received = connection.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            received = _rest(connection)
            if not received:
                return answer
        if not received:
            return answer
        answer += received
    raise AssertionError("the connection is still open")


def _rest(connection: socket.socket) -> bytes:
    """Return what arrived before the server closed the connection."""
    try:
        return connection.recv(65536)
    except OSError:
        return b""


def answered(raw: bytes, status: int, type: str) -> None:
    lines, _, body = raw.partition(b"\r\n\r\n")
    first, *headers = lines.decode().split("\r\n")
    assert first.split()[1] == str(status), raw
    named = dict(line.split(": ", 1) for line in headers)
    problem(httpx.Response(status, headers=named, content=body), status, type)


def test_a_slow_request_head_closes_the_connection(connect: Callable[[], socket.socket]) -> None:
    for begun in (b"", b"GET /", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: "):
        connection = connect()
        connection.sendall(begun)
        assert drip(connection, b"a" if begun else b"\r\n") == b""


def test_a_silent_connection_is_closed(connect: Callable[[], socket.socket]) -> None:
    assert connect().recv(1) == b""


def test_an_idle_connection_is_closed(connect: Callable[[], socket.socket]) -> None:
    connection = connect()
    request_health(connection)
    assert drip(connection, b"") == b""


def test_the_limit_for_slow_clients_does_not_apply_to_idle_connections(lasting_connection: socket.socket) -> None:
    for _ in range(3):
        request_health(lasting_connection)
        time.sleep(2 * SLOW)


def test_a_slow_head_of_a_later_request_closes_the_connection(lasting_connection: socket.socket) -> None:
    request_health(lasting_connection)
    assert drip(lasting_connection, b"GET /healthz HTTP/1.1\r\nX-A: ") == b""


@pytest.mark.parametrize(
    ("announced", "piece"), [("Content-Length: 5000", b"x"), ("Transfer-Encoding: chunked", b"1\r\nx\r\n")]
)
def test_a_slow_body_is_408(api: Api, connect: Callable[[], socket.socket], announced: str, piece: bytes) -> None:
    connection = connect()
    connection.sendall(head(api, announced))
    answered(drip(connection, piece), 408, "too-slow")


def test_a_slow_but_steady_body_is_accepted(api: Api, connect: Callable[[], socket.socket]) -> None:
    body = json.dumps(REQUEST | {"input": "x" * 4000}).encode()

    def accepted() -> bool:
        connection = connect()
        connection.sendall(head(api, f"Content-Length: {len(body)}"))
        try:
            for start in range(0, len(body), 400):
                connection.sendall(body[start : start + 400])
                time.sleep(SLOW / 3)
            return connection.recv(4096).startswith(b"HTTP/1.1 202 ")
        except ConnectionError:
            return False

    # On a busy machine this client itself may pause for too long.
    eventually(accepted, "a steady body was accepted")


def test_a_body_that_does_not_end_after_the_response_closes_the_connection(
    connect: Callable[[], socket.socket],
) -> None:
    connection = connect()
    connection.sendall(b"POST /v1/generations HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n")
    answered(drip(connection, b"x" * 100), 401, "unauthenticated")


@pytest.mark.parametrize("begun", [b"GET /", b"GET / HTTP/1.1\r\nX-A: ", b"GET / HTTP/1.1\r\n"], ids=repr)
def test_an_endless_head_is_431(connect: Callable[[], socket.socket], begun: bytes) -> None:
    connection = connect()
    connection.sendall(begun)
    piece = (b"X-B: 1\r\n" if begun.endswith(b"\n") else b"x" * 8) * 2000
    answered(drip(connection, piece), 431, "too-large")


def test_a_head_just_below_the_limit_is_accepted(connect: Callable[[], socket.socket]) -> None:
    connection = connect()
    connection.sendall(b"GET /healthz HTTP/1.1\r\nX-A: " + b"x" * (MAX_HEAD_BYTES - 100) + b"\r\n\r\n")
    assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("endless", [b"1;a=", b"0\r\nX-A: ", b"0\r\n"], ids=["chunk extension", "trailer", "trailers"])
def test_trailers_and_chunk_extensions_do_not_fill_the_memory(
    api: Api, connect: Callable[[], socket.socket], endless: bytes
) -> None:
    before = psutil.Process(api.pid).memory_info().rss
    connection = connect()
    connection.sendall(head(api, "Transfer-Encoding: chunked") + endless)
    piece = b"X-B: 1\r\n" if endless.endswith(b"\n") else b"x" * 8
    drip(connection, piece * 8000)
    assert psutil.Process(api.pid).memory_info().rss - before < 30e6


def large_page(api: Api) -> bytes:
    """Return the request for a list that is larger than the kernel's buffers."""
    with api.client() as client:
        items = [REQUEST | {"prompt": "ä" * 200_000, "input": "ä" * 200_000}] * 25
        assert client.post("/v1/generations/batch", json={"items": items}).status_code == 202
    return head(api, method="GET", path="/v1/generations?limit=25")


def test_a_client_that_does_not_read_its_response_is_disconnected(
    api: Api, connect: Callable[[], socket.socket]
) -> None:
    request = large_page(api)

    def received(reads_steadily: bool) -> int:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 50_000)
            connection.settimeout(LIMIT_SECONDS)
            connection.connect(("127.0.0.1", api.port))
            connection.sendall(request)
            if not reads_steadily:
                address = connection.getsockname()
                eventually(lambda: address in established(api), "the server accepted the connection")
                eventually(lambda: address not in established(api), "the server closed the connection")
            total = 0
            while size := _received(connection):
                total += size
                time.sleep(0.02 if total < 5_000_000 else 0)
        return total

    assert received(reads_steadily=False) < 20_000_000
    # On a busy machine this client itself may pause for too long.
    eventually(lambda: received(reads_steadily=True) > 20_000_000, "the whole response arrived")


def test_a_client_that_does_not_read_a_short_response_is_disconnected(api: Api) -> None:
    """The kernel buffers the first part of the response. The rest is too small to make the server stop writing."""
    with api.client() as client, ExitStack() as opened:
        for size in range(40_000, 400_000, 20_000):
            job = client.post(
                "/v1/generations", json=REQUEST | {"prompt": "x" * (size // 2), "input": "x" * (size // 2)}
            )
            connection = opened.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 5_000)
            connection.connect(("127.0.0.1", api.port))
            connection.sendall(head(api, method="GET", path=f"/v1/generations/{job.json()['id']}"))
        client.close()
        eventually(lambda: not established(api), "all connections were closed")


def established(api: Api) -> list[tuple[str, int]]:
    """The addresses of the clients with a connection to the API."""
    connections = psutil.Process(api.pid).net_connections()
    return [one.raddr for one in connections if one.raddr and one.laddr.port == api.port]


def _received(connection: socket.socket) -> int:
    try:
        return len(connection.recv(200_000))
    except ConnectionResetError:
        return 0


def test_idle_connections_give_way_to_new_ones(api: Api, connect: Callable[[], socket.socket]) -> None:
    idle = [connect() for _ in range(3 * MAX_CONNECTIONS)]
    for _ in range(3):
        assert httpx.get(f"{api.address}/healthz").status_code == 200
    assert len(psutil.Process(api.pid).net_connections()) < len(idle)


def test_simultaneous_connections_do_not_exceed_the_limit(api: Api, connect: Callable[[], socket.socket]) -> None:
    process = psutil.Process(api.pid)
    process.suspend()
    try:
        for _ in range(3 * MAX_CONNECTIONS):
            connect()
    finally:
        process.resume()
    assert httpx.get(f"{api.address}/healthz").status_code == 200
    assert len(established(api)) <= MAX_CONNECTIONS + 1


def test_a_connection_beyond_the_limit_is_503_when_none_is_idle(api: Api, connect: Callable[[], socket.socket]) -> None:
    with api.client() as client:
        job = client.post("/v1/generations", json=REQUEST).json()["id"]
    for _ in range(MAX_CONNECTIONS):
        connection = connect()
        connection.sendall(head(api, method="GET", path=f"/v1/jobs/{job}/events"))
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    refused = httpx.get(f"{api.address}/healthz")
    problem(refused, 503, "unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    eventually(lambda: httpx.get(f"{api.address}/healthz").status_code == 200, "a free place was used")


def test_pipelined_requests_are_all_answered(api: Api, connect: Callable[[], socket.socket]) -> None:
    connection = connect()
    connection.sendall(head(api, method="GET", path="/healthz") * 20)
    assert drip(connection, b"").count(b"HTTP/1.1 200 ") == 20


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
def test_a_connection_cannot_switch_to_another_protocol(
    api: Api, connect: Callable[[], socket.socket], protocol: str
) -> None:
    connection = connect()
    upgrade = ("Connection: Upgrade", f"Upgrade: {protocol}", "Sec-WebSocket-Key: eA==", "Sec-WebSocket-Version: 13")
    connection.sendall(head(api, *upgrade, method="GET", path="/v1/jobs"))
    assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        ("Content-Length: -1",),
        ("Content-Length: +5",),
        ("Content-Length : 5",),
    ],
    ids=str,
)
def test_a_body_with_two_lengths_is_refused(
    api: Api, connect: Callable[[], socket.socket], headers: tuple[str, ...]
) -> None:
    """A proxy that reads such a request differently than the server would let one client send requests as another."""
    connection = connect()
    connection.sendall(head(api, *headers) + b"0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n")
    answer = drip(connection, b"")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"content-type: application/problem+json" in answer
    assert b"this is not a valid HTTP request" in answer


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_compressed_body_is_415_and_not_decompressed(api: Api, encoding: str) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    with api.client() as client:
        for media_type in ("application/json", "multipart/form-data; boundary=x"):
            path = "/v1/generations" if media_type == "application/json" else "/v1/datasets"
            headers = {"Content-Type": media_type, "Content-Encoding": encoding}
            problem(client.post(path, content=bomb, headers=headers), 415, "unsupported-media-type")
