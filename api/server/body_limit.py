"""Limits on request bodies: too large a body is refused with 413, too slow a one with 408."""

import asyncio
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Problem, ProblemType

MIN_BYTES_PER_SECOND = 1000
"""The minimum average rate at which a client must send a body. Anything slower is an attack or a broken connection."""


class BodyLimit:
    """Middleware that limits the size of bodies, with or without a Content-Length, and the time they take.

    A body may have `max_bytes`, or what `exceptions` says for the request's method and path. A client may be
    `slow_seconds` behind the minimum rate.
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int, exceptions: Mapping[tuple[str, str], int], slow_seconds: float
    ) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.exceptions = exceptions
        self.slow_seconds = slow_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        max_bytes = self.exceptions.get((scope["method"], scope["path"]), self.max_bytes)
        too_large = Problem(413, ProblemType.TOO_LARGE, f"the body is larger than the limit of {max_bytes} bytes")
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > max_bytes:
            await too_large.response()(scope, receive, send)
            return
        received, slack, more = 0, self.slow_seconds, True

        async def receive_limited() -> Message:
            nonlocal received, slack, more
            if not more:  # the application waits for the client to disconnect
                return await receive()
            message, waited = await _receive_within(slack, receive)
            size = len(message.get("body", b""))
            more = message.get("more_body", False)
            received += size
            slack = min(slack - waited + size / MIN_BYTES_PER_SECOND, self.slow_seconds)
            if received > max_bytes:
                raise too_large
            return message

        await self.app(scope, receive_limited, send)


async def _receive_within(seconds: float, receive: Receive) -> tuple[Message, float]:
    """Return the next message, and the seconds that it took. Raises a 408 Problem after `seconds`."""
    clock = asyncio.get_running_loop()
    start = clock.time()
    try:
        async with asyncio.timeout(seconds):
            return await receive(), clock.time() - start
    except TimeoutError:
        detail = f"the body arrived more slowly than {MIN_BYTES_PER_SECOND} bytes per second"
        raise Problem(408, ProblemType.TOO_SLOW, detail, headers={"Connection": "close"}) from None
