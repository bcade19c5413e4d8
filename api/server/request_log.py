"""One log line for each request, and its share of the metrics."""

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
"""Asked every few seconds: their lines are shown at DEBUG."""

CLIENT_GONE = 499
"""nginx's word for a request whose client left before there was an answer."""


@dataclass
class _Answer:
    """What is known of an answer. `held` says that the client asked for it to come late, or to go on."""

    held: bool
    status: int = CLIENT_GONE
    whole: bool = False


class RequestLog:
    """Gives each request an id, which the answer carries as `X-Request-ID` and each line written meanwhile says.

    The path itself is never logged, and no header: a client may have put anything there.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        start = time.monotonic()
        answer = _Answer(held=b"prefer" in dict(scope["headers"]))

        async def observed_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", []))
                answer.status = message["status"]
                answer.held |= dict(headers).get(b"content-type", b"").startswith(b"text/event-stream")
                message["headers"] = [*headers, (b"x-request-id", request_id.encode())]
            await send(message)
            if message["type"] == "http.response.body":
                answer.whole = not message.get("more_body", False)

        with log_fields(request_id=request_id):
            try:
                await self.app(scope, receive, observed_send)
            except Exception:
                log.exception("a fault of the server")
                if not answer.whole:
                    raise
            finally:
                _record(scope, answer.status, time.monotonic() - start, held=answer.held)


def _record(scope: Scope, status: int, seconds: float, *, held: bool) -> None:
    """Log and count a request. One that was `held` says nothing of how fast answers are."""
    route = getattr(scope.get("route"), "path_format", "")
    method = scope["method"] if scope["method"] in METHODS else "other"
    REQUESTS.labels(method, route, status).inc()
    if not held:
        REQUEST_SECONDS.labels(method, route).observe(seconds)
    parameters = scope.get("path_params", {})
    with suppress(KeyError, ValueError):
        add_log_fields(job_id=str(uuid.UUID(parameters.get("job_id") or parameters["evaluation_id"])))
    level = logging.DEBUG if route in PROBES else logging.INFO
    fields = {"method": method, "route": route, "status": status, "duration_seconds": round(seconds, 4)}
    log.log(level, "%s %s: %d in %.1f ms", method, route or "(no route)", status, 1000 * seconds, extra=fields)
