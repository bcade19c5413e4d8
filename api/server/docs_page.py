"""The documentation page at `/docs`: Swagger UI, from files in this package, so that it needs no internet access."""

from enum import StrEnum
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse

FOLDER = Path(__file__).parent / "swagger_ui"

# Swagger UI sets `style` attributes and shows inline images. Its "Try it out" sends requests to this server.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class _Asset(StrEnum):
    """The files that the page loads."""

    BUNDLE = "swagger-ui-bundle.js"
    INITIALIZE = "initialize.js"
    STYLES = "swagger-ui.css"
    ICON = "favicon-32x32.png"


def install(app: FastAPI) -> None:
    """Add the page and its files to `app`, outside of the OpenAPI document."""

    @app.get("/docs", include_in_schema=False)
    async def get_docs() -> FileResponse:
        return FileResponse(FOLDER / "index.html", headers=HEADERS)

    @app.get("/docs/{asset}", include_in_schema=False)
    async def get_docs_asset(asset: _Asset) -> FileResponse:
        return FileResponse(FOLDER / asset, headers=HEADERS)
