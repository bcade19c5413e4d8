"""`pagewright api`: the HTTP API."""

from pagewright.settings import get_settings


def api() -> None:
    """Run the HTTP API on PAGEWRIGHT_HOST and PAGEWRIGHT_PORT."""
    import uvicorn

    from api.server import connections

    settings = get_settings()
    connections.allow_many_connections()
    uvicorn.run("api.app:create_app", factory=True, host=settings.host, port=settings.port, **connections.OPTIONS)
