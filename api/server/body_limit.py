"""Refuses request bodies over a limit with 413, whether or not they announce their length, and with 408 those that come
too slowly."""

import asyncio
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Problem, ProblemType

MIN_BYTES_PER_SECOND = 1000
"""What a client must send on the whole; less is an attack, or a connection that no longer works."""


class BodyLimit:
    """`exceptions` are the limits of requests that have their own, by method and path.

    A client may be `slow_seconds` behind the least pace.
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
        too_large = Problem(413, ProblemType.TOO_LARGE, f"the body is larger than {max_bytes} bytes")
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > max_bytes:
            await too_large.response()(scope, receive, send)
            return
        received, slack, more = 0, self.slow_seconds, True

        async def receive_limited() -> Message:
            nonlocal received, slack, more
            if not more:  # this waits for the client to go away
                return await receive()
            message, waited = await _within(slack, receive)
            size = len(message.get("body", b""))
            more = message.get("more_body", False)
            received += size
            slack = min(slack - waited + size / MIN_BYTES_PER_SECOND, self.slow_seconds)
            if received > max_bytes:
                raise too_large
            return message

        await self.app(scope, receive_limited, send)


async def _within(seconds: float, receive: Receive) -> tuple[Message, float]:
    """The message, and how long it took. Raises a 408 Problem after `seconds`."""
    clock = asyncio.get_running_loop()
    began = clock.time()
    try:
        async with asyncio.timeout(seconds):
            return await receive(), clock.time() - began
    except TimeoutError:
        detail = "the body came too slowly"
        raise Problem(408, ProblemType.TOO_SLOW, detail, headers={"Connection": "close"}) from None
