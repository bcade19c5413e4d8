"""Clients that are slow, large or many hold no connection, memory or thread for long, and keep nobody else out."""

import gzip
import json
import shutil
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import httpx
import psutil
import pytest

from api.server.connections import MAX_HEAD_BYTES
from tests.api.helpers import ASKED, problem
from tests.attacks.conftest import Api, running_api
from tests.processes import eventually

SLOW = 0.6
"""Seconds; the least pace is 1 kB/s."""

IDLE = 2.4
MAX_CONNECTIONS = 30


@pytest.fixture(scope="module")
def api(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One for all these tests: what one of them has done to it the others may feel."""
    folder = tmp_path_factory.mktemp("attacked")
    url = f"sqlite:///{shutil.copy(migrated_sqlite, folder)}"
    with running_api(
        url, folder, slow_client_seconds=SLOW, keep_alive_seconds=IDLE, max_connections=MAX_CONNECTIONS
    ) as api:
        yield api


@pytest.fixture
def connect(api: Api) -> Iterator[Callable[[], socket.socket]]:
    with ExitStack() as opened:
        yield lambda: opened.enter_context(socket.create_connection(("127.0.0.1", api.port), timeout=10))


def head(api: Api, *headers: str, method: str = "POST", path: str = "/v1/generations") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {api.secret}", *headers]
    return "\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode()


def drip(connection: socket.socket, piece: bytes, seconds: float) -> bytes:
    """Send the piece again and again until the server hangs up, and give its answer; fail if it does not in time."""
    deadline = time.monotonic() + seconds
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
    """What came before the server hung up."""
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


def test_a_head_that_comes_too_slowly_ends_the_connection(connect: Callable[[], socket.socket]) -> None:
    for begun in (b"", b"GET /", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: "):
        connection = connect()
        connection.sendall(begun)
        assert drip(connection, b"a" if begun else b"\r\n", 5 * SLOW) == b""


def test_a_connection_that_says_nothing_is_closed(connect: Callable[[], socket.socket]) -> None:
    assert connect().recv(1) == b""


def test_one_that_has_had_its_answer_is_kept_for_another_request_but_not_for_ever(api: Api) -> None:
    client = HTTPConnection("127.0.0.1", api.port)
    client.connect()
    client.auto_open = 0
    for _ in range(2):
        client.request("GET", "/healthz")
        assert client.getresponse().read()
        time.sleep(2 * SLOW)
    begin = time.monotonic()
    assert drip(client.sock, b"", 2 * IDLE) == b""
    assert time.monotonic() - begin < IDLE


def test_a_later_head_that_comes_too_slowly_ends_the_connection_too(
    api: Api, connect: Callable[[], socket.socket]
) -> None:
    connection = connect()
    connection.sendall(head(api, method="GET", path="/healthz"))
    assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    begin = time.monotonic()
    drip(connection, b"GET /healthz HTTP/1.1\r\nX-A: ", IDLE)
    assert time.monotonic() - begin < IDLE - SLOW


@pytest.mark.parametrize(
    ("announced", "piece"), [("Content-Length: 5000", b"x"), ("Transfer-Encoding: chunked", b"1\r\nx\r\n")]
)
def test_a_body_that_comes_too_slowly_is_408(
    api: Api, connect: Callable[[], socket.socket], announced: str, piece: bytes
) -> None:
    connection = connect()
    connection.sendall(head(api, announced))
    answered(drip(connection, piece, 10 * SLOW), 408, "too-slow")


def test_a_body_that_comes_slowly_but_steadily_is_taken(api: Api, connect: Callable[[], socket.socket]) -> None:
    body = json.dumps(ASKED | {"input": "x" * 4000}).encode()
    connection = connect()
    connection.sendall(head(api, f"Content-Length: {len(body)}"))
    for start in range(0, len(body), 400):
        connection.sendall(body[start : start + 400])
        time.sleep(SLOW / 3)
    assert connection.recv(4096).startswith(b"HTTP/1.1 202 ")


def test_a_body_that_never_ends_after_the_answer_ends_the_connection(
    connect: Callable[[], socket.socket],
) -> None:
    connection = connect()
    connection.sendall(b"POST /v1/generations HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n")
    answered(drip(connection, b"x" * 100, 5 * SLOW), 401, "unauthenticated")


@pytest.mark.parametrize("begun", [b"GET /", b"GET / HTTP/1.1\r\nX-A: ", b"GET / HTTP/1.1\r\n"], ids=repr)
def test_a_head_that_never_ends_is_431(connect: Callable[[], socket.socket], begun: bytes) -> None:
    connection = connect()
    connection.sendall(begun)
    piece = (b"X-B: 1\r\n" if begun.endswith(b"\n") else b"x" * 8) * 2000
    answered(drip(connection, piece, 10 * SLOW), 431, "too-large")


def test_a_head_just_below_the_limit_is_taken(connect: Callable[[], socket.socket]) -> None:
    connection = connect()
    connection.sendall(b"GET /healthz HTTP/1.1\r\nX-A: " + b"x" * (MAX_HEAD_BYTES - 100) + b"\r\n\r\n")
    assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("endless", [b"1;a=", b"0\r\nX-A: ", b"0\r\n"], ids=["chunk extension", "trailer", "trailers"])
def test_what_is_neither_head_nor_body_does_not_pile_up(
    api: Api, connect: Callable[[], socket.socket], endless: bytes
) -> None:
    before = psutil.Process(api.pid).memory_info().rss
    connection = connect()
    connection.sendall(head(api, "Transfer-Encoding: chunked") + endless)
    piece = b"X-B: 1\r\n" if endless.endswith(b"\n") else b"x" * 8
    drip(connection, piece * 8000, 10 * SLOW)
    assert psutil.Process(api.pid).memory_info().rss - before < 30e6


def large_page(api: Api) -> bytes:
    """The request for a list that is larger than what the kernel buffers."""
    with api.client() as client:
        items = [ASKED | {"prompt": "ä" * 200_000, "input": "ä" * 200_000}] * 25
        assert client.post("/v1/generations/batch", json={"items": items}).status_code == 202
    return head(api, method="GET", path="/v1/generations?limit=25")


def test_a_client_that_does_not_take_its_answer_is_cut_off(api: Api, connect: Callable[[], socket.socket]) -> None:
    asked = large_page(api)
    for pause in (0.0, 0.02):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 50_000)
        connection.settimeout(10)
        with connection:
            connection.connect(("127.0.0.1", api.port))
            connection.sendall(asked)
            if not pause:
                time.sleep(4 * SLOW)
            received = 0
            while pieces := _received(connection):
                received += pieces
                time.sleep(pause if received < 5_000_000 else 0)
        assert (received > 20_000_000) == bool(pause)


def test_a_client_that_takes_nothing_of_a_short_answer_is_cut_off_too(api: Api) -> None:
    """The kernel takes the first part of it, and what is left is too little for the server to stop writing."""
    with api.client() as client, ExitStack() as opened:
        for size in range(40_000, 400_000, 20_000):
            job = client.post("/v1/generations", json=ASKED | {"prompt": "x" * (size // 2), "input": "x" * (size // 2)})
            connection = opened.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 5_000)
            connection.connect(("127.0.0.1", api.port))
            connection.sendall(head(api, method="GET", path=f"/v1/generations/{job.json()['id']}"))
        client.close()
        eventually(lambda: not established(api), "the end of all connections", 4 * IDLE)


def established(api: Api) -> list[tuple[str, int]]:
    """The addresses of clients that the API holds a connection to."""
    connections = psutil.Process(api.pid).net_connections()
    return [one.raddr for one in connections if one.raddr and one.laddr.port == api.port]


def _received(connection: socket.socket) -> int:
    try:
        return len(connection.recv(200_000))
    except ConnectionResetError:
        return 0


def test_idle_connections_keep_nobody_out(api: Api, connect: Callable[[], socket.socket]) -> None:
    idle = [connect() for _ in range(3 * MAX_CONNECTIONS)]
    for _ in range(3):
        assert httpx.get(f"{api.address}/healthz").status_code == 200
    assert len(psutil.Process(api.pid).net_connections()) < len(idle)


def test_connections_that_come_all_at_once_do_not_pass_the_limit(
    api: Api, connect: Callable[[], socket.socket]
) -> None:
    process = psutil.Process(api.pid)
    process.suspend()
    try:
        for _ in range(3 * MAX_CONNECTIONS):
            connect()
    finally:
        process.resume()
    assert httpx.get(f"{api.address}/healthz").status_code == 200
    assert len(established(api)) <= MAX_CONNECTIONS + 1


def test_where_every_connection_is_at_work_the_next_is_503(api: Api, connect: Callable[[], socket.socket]) -> None:
    with api.client() as client:
        job = client.post("/v1/generations", json=ASKED).json()["id"]
    for _ in range(MAX_CONNECTIONS):
        connection = connect()
        connection.sendall(head(api, method="GET", path=f"/v1/jobs/{job}/events"))
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    refused = httpx.get(f"{api.address}/healthz")
    problem(refused, 503, "unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    time.sleep(0.1)
    assert httpx.get(f"{api.address}/healthz").status_code == 200


def test_requests_sent_before_the_answers_are_all_answered(api: Api, connect: Callable[[], socket.socket]) -> None:
    connection = connect()
    connection.sendall(head(api, method="GET", path="/healthz") * 20)
    assert drip(connection, b"", 5 * SLOW).count(b"HTTP/1.1 200 ") == 20


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
def test_a_connection_is_no_other_protocol(api: Api, connect: Callable[[], socket.socket], protocol: str) -> None:
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
def test_a_body_of_two_lengths_is_none(
    api: Api, connect: Callable[[], socket.socket], headers: tuple[str, ...]
) -> None:
    """What a proxy in front reads otherwise than the server does would let one client write another's request."""
    connection = connect()
    connection.sendall(head(api, *headers) + b"0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n")
    answer = drip(connection, b"", 5 * SLOW)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_packed_body_is_415_and_never_unpacked(api: Api, encoding: str) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    with api.client() as client:
        for media_type in ("application/json", "multipart/form-data; boundary=x"):
            path = "/v1/generations" if media_type == "application/json" else "/v1/datasets"
            headers = {"Content-Type": media_type, "Content-Encoding": encoding}
            problem(client.post(path, content=bomb, headers=headers), 415, "unsupported-media-type")
