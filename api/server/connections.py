"""How uvicorn serves the API: its connections, with bounds on what a client can make the server hold, and how long."""

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
"""Of a request's line and headers, and of whatever else comes that is no body: trailers, chunk extensions; beyond the
first piece that the socket gave."""


UNSENT_BYTES = 64 * 1024


class BoundedConnection(HttpToolsProtocol):
    """Cuts off a client that is too slow to send a request's head, or to end one that is answered already, one that
    takes nothing of its answer, and one whose head is too large.

    uvicorn leaves all that to a proxy. While a request's body is awaited, BodyLimit watches the time. Where there are
    too many connections the one that has waited longest without a request gives way; if none has, the newest is
    answered 503.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        settings = get_settings()
        self._patience = settings.slow_client_seconds
        self._keep_alive = settings.keep_alive_seconds
        self.timeout_keep_alive = math.ceil(self._keep_alive)
        self._waiting: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None
        self._unsent = 0
        self._overhead = 0
        # The kernel would hold megabytes, and show in lumps of as much that the client takes them.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        if len(self.connections) > settings.max_connections:
            self._make_room()
        self._wait(self._patience)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_sending()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._overhead += len(data)
        super().data_received(data)
        if self._overhead > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse_head()

    def on_message_begin(self) -> None:
        self._overhead = 0
        if self._waiting:
            self._wait(self._patience)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._overhead = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # no other request was there already
            self._wait(self._patience if self.cycle.more_body else self._keep_alive)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_sending()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_sending()

    def _make_room(self) -> None:
        others = cast(set[BoundedConnection], self.connections - {self})
        idle = [connection for connection in others if connection._waiting]
        if idle:
            longest = min(idle, key=lambda connection: cast(asyncio.TimerHandle, connection._waiting).when())
            longest._stop_waiting()  # under asyncio's own loop it is gone only later
            longest.transport.abort()
        else:
            self.app = RequestLog(_too_many_connections)

    def _wait(self, seconds: float) -> None:
        """For the next request's head, after what is left of the last one."""
        self._stop_waiting()
        self._waiting = self.loop.call_later(seconds, self._hang_up)

    def _hang_up(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # closing would wait for a client that takes nothing of its answer
        else:
            self.transport.close()

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting.cancel()
            self._waiting = None

    def _watch_sending(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self._sending = self.loop.call_later(self._patience, self._check_sending)

    def _check_sending(self) -> None:
        if self.transport.get_write_buffer_size() < self._unsent:
            self._watch_sending()
        else:
            self.transport.abort()

    def _stop_sending(self) -> None:
        if self._sending:
            self._sending.cancel()
            self._sending = None

    def _refuse_head(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            detail = f"the request's line and headers are larger than {MAX_HEAD_BYTES} bytes"
            answer = Problem(431, ProblemType.TOO_LARGE, detail, headers={"Connection": "close"}).response()
            lines = [name + b": " + value + b"\r\n" for name, value in answer.raw_headers]
            self.transport.write(b"".join([STATUS_LINE[431], *lines, b"\r\n", bytes(answer.body)]))
        self.transport.close()


async def _too_many_connections(scope: Scope, receive: Receive, send: Send) -> None:
    seconds = str(get_settings().retry_after_seconds)
    headers = {"Retry-After": seconds, "Connection": "close"}
    problem = Problem(503, ProblemType.UNAVAILABLE, "the server holds as many connections as it may", headers=headers)
    await problem.response()(scope, receive, send)


OPTIONS: dict[str, Any] = {
    "http": BoundedConnection,
    "ws": "none",
    "log_config": None,
    "access_log": False,
    "timeout_graceful_shutdown": 5,
}
"""What uvicorn is told, host and port aside."""


def allow_many_connections() -> None:
    """Let this process have as many open files as the system lets it: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
