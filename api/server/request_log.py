"""One log line and one metric sample per request."""

import logging
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pagewright.logging import add_log_fields, log_fields
from pagewright.telemetry import REQUEST_SECONDS, REQUESTS

log = logging.getLogger(__name__)

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
PROBES = {"/healthz", "/readyz", "/metrics"}
"""Routes that are requested every few seconds. Their log lines have the level DEBUG."""

CLIENT_GONE = 499
"""nginx's status for a request whose client disconnected before the response."""


@dataclass
class _Response:
    """The response so far. `prolonged` means that the client requested a wait or a stream."""

    prolonged: bool
    status: int = CLIENT_GONE
    complete: bool = False


class RequestLog:
    """Middleware that logs each request, and gives it an id: the response's header `X-Request-ID`, and a field of every
    line logged during the request.

    Paths and headers are never logged, because a client may have put secrets into them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        start = time.monotonic()
        response = _Response(prolonged=b"prefer" in dict(scope["headers"]))

        async def observed_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", []))
                response.status = message["status"]
                response.prolonged |= dict(headers).get(b"content-type", b"").startswith(b"text/event-stream")
                message["headers"] = [*headers, (b"x-request-id", request_id.encode())]
            await send(message)
            if message["type"] == "http.response.body":
                response.complete = not message.get("more_body", False)

        with log_fields(request_id=request_id):
            try:
                await self.app(scope, receive, observed_send)
            except Exception:
                log.exception("unexpected error")
                if not response.complete:
                    raise
            finally:
                _record(scope, response.status, time.monotonic() - start, prolonged=response.prolonged)


def _record(scope: Scope, status: int, seconds: float, *, prolonged: bool) -> None:
    """Log and count a request. The duration of a prolonged one says nothing about the server's speed."""
    route = getattr(scope.get("route"), "path_format", "")
    method = scope["method"] if scope["method"] in METHODS else "other"
    REQUESTS.labels(method, route, status).inc()
    if not prolonged:
        REQUEST_SECONDS.labels(method, route).observe(seconds)
    parameters = scope.get("path_params", {})
    with suppress(KeyError, ValueError):
        add_log_fields(job_id=str(uuid.UUID(parameters["job_id"])))
    level = logging.DEBUG if route in PROBES else logging.INFO
    fields = {"method": method, "route": route, "status": status, "duration_seconds": round(seconds, 4)}
    log.log(level, "%s %s: %d in %.1f ms", method, route or "(no route)", status, 1000 * seconds, extra=fields)
