"""Refuses request bodies over a limit with 413, whether or not they announce their length."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Problem, ProblemType


class BodyLimit:
    """`exceptions` are the limits of requests that have their own, by method and path."""

    def __init__(self, app: ASGIApp, max_bytes: int, exceptions: Mapping[tuple[str, str], int]) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.exceptions = exceptions

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
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > max_bytes:
                raise too_large
            return message

        await self.app(scope, receive_limited, send)
