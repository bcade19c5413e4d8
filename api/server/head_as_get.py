"""HEAD requests."""

from starlette.types import ASGIApp, Receive, Scope, Send


class HeadAsGet:
    """Middleware that answers HEAD requests like GET requests. The HTTP server drops the body.

    An endpoint whose body is expensive can check for `head` in the scope and leave the body out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        as_get = {**scope, "method": "GET", "head": True}
        try:
            await self.app(as_get, receive, send)
        finally:
            # for the request log
            scope.update({name: as_get[name] for name in ("route", "path_params") if name in as_get})
