"""How uvicorn serves the API: its HTTP connections, with limits on their number, time and memory.

This is the only module that touches uvicorn's internals. It overrides methods of `HttpToolsProtocol` and uses its
attributes as they are in uvicorn 0.54; `tests/api/server/test_connections.py` fails when they change.
"""

import asyncio
import math
import resource
import socket
from typing import Any, cast

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.errors import Problem, ProblemType
from api.server.request_log import RequestLog
from pagewright.settings import get_settings

MAX_HEAD_BYTES = 64 * 1024
"""The maximum size of everything in a request that is not its body: request line, headers, trailers, chunk extensions.
Checked after each piece of data from the socket."""

UNSENT_BYTES = 64 * 1024


class BoundedConnection(HttpToolsProtocol):
    """An HTTP connection with limits, which uvicorn itself leaves to a proxy.

    The connection is closed if the client takes too long to send a request's line and headers, or the rest of a body
    after its response; if it does not read the response; or if line and headers are too large. BodyLimit limits the
    time of a body before the response.

    When there are too many connections, the one that has been idle longest is closed. If none is idle, the newest one
    is answered with 503.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        settings = get_settings()
        self._slow_client_seconds = settings.slow_client_seconds
        self._keep_alive = settings.keep_alive_seconds
        self.timeout_keep_alive = math.ceil(self._keep_alive)
        self._idle_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._unsent = 0
        self._head_bytes = 0
        # Otherwise the kernel buffers megabytes, and a slow client's progress shows only in steps of that size.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        if len(self.connections) > settings.max_connections:
            self._enforce_max_connections()
        self._start_idle_timer(self._slow_client_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_idle_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse_head()

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        if self._idle_timer:
            self._start_idle_timer(self._slow_client_seconds)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stop_idle_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # the next request has not arrived yet
            self._start_idle_timer(self._slow_client_seconds if self.cycle.more_body else self._keep_alive)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_write_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_write_timer()

    def _enforce_max_connections(self) -> None:
        others = cast(set[BoundedConnection], self.connections - {self})
        idle = [connection for connection in others if connection._idle_timer]
        if idle:
            longest = min(idle, key=lambda connection: cast(asyncio.TimerHandle, connection._idle_timer).when())
            longest._stop_idle_timer()  # with asyncio's own event loop, connection_lost is called only later
            longest.transport.abort()
        else:
            self.app = RequestLog(_too_many_connections)

    def _start_idle_timer(self, seconds: float) -> None:
        """Close the connection after `seconds`, unless the head of a request arrives."""
        self._stop_idle_timer()
        self._idle_timer = self.loop.call_later(seconds, self._close)

    def _close(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # closing would wait until the client has read its response
        else:
            self.transport.close()

    def _stop_idle_timer(self) -> None:
        if self._idle_timer:
            self._idle_timer.cancel()
            self._idle_timer = None

    def _start_write_timer(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(self._slow_client_seconds, self._check_progress)

    def _check_progress(self) -> None:
        if self.transport.get_write_buffer_size() < self._unsent:
            self._start_write_timer()
        else:
            self.transport.abort()

    def _stop_write_timer(self) -> None:
        if self._write_timer:
            self._write_timer.cancel()
            self._write_timer = None

    def _refuse_head(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            detail = f"the request line and headers are larger than {MAX_HEAD_BYTES} bytes"
            self._write_problem(431, ProblemType.TOO_LARGE, detail)
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer data that is no HTTP request. `msg` is uvicorn's text, which is not sent."""
        self._write_problem(400, ProblemType.MALFORMED, "this is not a valid HTTP request")
        self.transport.close()

    def _write_problem(self, status: int, type: ProblemType, detail: str) -> None:
        answer = Problem(status, type, detail, headers={"Connection": "close"}).response()
        lines = [name + b": " + value + b"\r\n" for name, value in answer.raw_headers]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", bytes(answer.body)]))


async def _too_many_connections(scope: Scope, receive: Receive, send: Send) -> None:
    seconds = str(get_settings().retry_after_seconds)
    headers = {"Retry-After": seconds, "Connection": "close"}
    problem = Problem(
        503, ProblemType.UNAVAILABLE, "the server has reached its maximum number of connections", headers=headers
    )
    await problem.response()(scope, receive, send)


OPTIONS: dict[str, Any] = {
    "http": BoundedConnection,
    "ws": "none",
    "log_config": None,
    "access_log": False,
    "timeout_graceful_shutdown": 5,
}
"""The arguments of `uvicorn.run` except host and port."""


def allow_many_connections() -> None:
    """Raise this process's limit of open files to the maximum allowed, because each connection is an open file."""
    _, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))
