"""Error responses as problem documents (`application/problem+json`, RFC 9457)."""

import logging
from collections.abc import Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api import messages, paths
from db.session import UNREACHABLE

log = logging.getLogger(__name__)

MAX_FIELD_NAME = 64
MAX_FIELD_ERRORS = 20


class ProblemType(StrEnum):
    """The stable types of problems. A response has them as `urn:pagewright:problem:<value>`."""

    INVALID = "invalid"
    MALFORMED = "malformed"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    CONFLICT = "conflict"
    IDEMPOTENCY_CONFLICT = "idempotency-conflict"
    NOT_FINISHED = "not-finished"
    NO_COMPLETION = "no-completion"
    TOO_LARGE = "too-large"
    TOO_SLOW = "too-slow"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    QUEUE_FULL = "queue-full"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class FieldError(BaseModel):
    """An error in one field or parameter of a request."""

    field: str = Field(examples=["items[3].temperature"], description="The path of the field.")
    message: str = Field(examples=["must be at most 2"])


class ProblemDocument(BaseModel):
    """An error response (RFC 9457)."""

    type: str = Field(
        examples=["urn:pagewright:problem:invalid"], description="A stable identifier that a client can branch on."
    )
    title: str = Field(description="The phrase of the HTTP status.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong with this request.")
    errors: list[FieldError] = Field([], description="The invalid fields of the request, up to 20.")


class Problem(HTTPException):
    """An exception that becomes an error response, wherever it is raised.

    It is an HTTPException because FastAPI replaces other exceptions that are raised while it reads the body.
    """

    def __init__(
        self,
        status: int,
        type: ProblemType,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.document = ProblemDocument(
            type=f"urn:pagewright:problem:{type.value}",
            title=HTTPStatus(status).phrase,
            status=status,
            detail=detail,
            errors=list(errors),
        )

    def response(self) -> JSONResponse:
        return JSONResponse(
            self.document.model_dump(), self.document.status, self.headers, media_type="application/problem+json"
        )


def invalid(field: str, message: str) -> Problem:
    """Return a 422 Problem about one field."""
    return Problem(422, ProblemType.INVALID, f"{field}: {message}", errors=[FieldError(field=field, message=message)])


def name_taken(what: str) -> Problem:
    """Return a 409 Problem for a name that another `what` has, or that an unfinished job will give to its result."""
    message = f"another {what}, or the result of an unfinished job, already has this name"
    return Problem(409, ProblemType.CONFLICT, f"name: {message}", errors=[FieldError(field="name", message=message)])


def store_unavailable() -> Problem:
    """Return a 503 Problem for an OSError of the artifact store."""
    detail = "the artifact store is not available; send the request again later"
    return Problem(503, ProblemType.UNAVAILABLE, detail, headers={"Retry-After": "5"})


def disk_full(error: OSError) -> Problem:
    """Return a 503 Problem for a file that could not be written, most likely because the server's disk is full."""
    log.error("can't write a file: %s", error)
    detail = "the server can't write a file, because its disk may be full; send the request again later"
    return Problem(503, ProblemType.UNAVAILABLE, detail, headers={"Retry-After": "5"})


def not_found(what: str) -> Problem:
    """Return a 404 Problem."""
    return Problem(404, ProblemType.NOT_FOUND, f"there is no such {what}")


_CONTENT = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
ANY_PROBLEM: dict[int | str, dict[str, Any]] = {"default": {"description": "Any other error.", "content": _CONTENT}}


def document_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the argument `responses` of a route that can answer with these error statuses."""
    return {status: {"description": HTTPStatus(status).phrase, "content": _CONTENT} for status in statuses}


def problem_schemas() -> dict[str, Any]:
    """Return the OpenAPI components to which the documented errors refer."""
    schema = ProblemDocument.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), ProblemDocument.__name__: schema}


def install(app: FastAPI) -> None:
    """Make `app` answer every error with a problem document."""

    async def problem(_: Request, error: Problem) -> JSONResponse:
        return error.response()

    async def invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
        return _validation_problem(error, request).response()

    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        # FastAPI answers 400 when a form can't be written to the disk.
        if isinstance(error.__cause__, OSError):
            return disk_full(error.__cause__).response()
        headers = dict(error.headers or {})
        if error.status_code == 405:
            allowed = _allowed_methods(app, request)
            headers["Allow"] = ", ".join(allowed)
            detail = paths.wrong_method(allowed)
        elif error.status_code == 404:
            detail = paths.unknown_path(request.url.path, app.state.paths)
        else:
            detail = _unreadable_body(request, error)
        return Problem(error.status_code, _http_type(error.status_code), detail, headers=headers).response()

    async def database_down(_: Request, error: Exception) -> JSONResponse:
        log.error("the database is not available: %s", getattr(error, "orig", error))
        detail = (
            "the database is not available; send the request again later, and a submission with the same "
            "Idempotency-Key"
        )
        return Problem(503, ProblemType.UNAVAILABLE, detail, headers={"Retry-After": "5"}).response()

    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        return Problem(500, ProblemType.INTERNAL, "internal error; the server's log has the details").response()

    app.add_exception_handler(Problem, problem)  # type: ignore[arg-type]  # Starlette expects handlers of Exception
    app.add_exception_handler(RequestValidationError, invalid_request)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, http_error)  # type: ignore[arg-type]
    for unreachable in UNREACHABLE:
        app.add_exception_handler(unreachable, database_down)
    app.add_exception_handler(Exception, unexpected)


def _http_type(status: int) -> ProblemType:
    types = {404: ProblemType.NOT_FOUND, 405: ProblemType.METHOD_NOT_ALLOWED}
    return types.get(status, ProblemType.MALFORMED if status < 500 else ProblemType.INTERNAL)


def _allowed_methods(app: FastAPI, request: Request) -> list[str]:
    """Return the methods of all routes with the request's path. Starlette itself names only those of the first."""
    return [
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        if any(
            # HEAD is allowed wherever GET is.
            route.matches({**request.scope, "method": "GET" if method == "HEAD" else method})[0] == Match.FULL
            for route in app.routes
        )
    ]


def _unreadable_body(request: Request, error: HTTPException) -> str:
    """Return what is wrong with a body that FastAPI or Starlette could not read. Their own messages say less."""
    if request.headers.get("Content-Type", "").lower().startswith("multipart/"):
        return (
            "the form can't be read: it must be multipart/form-data with the `boundary` that its Content-Type names, "
            "and at most 1,000 fields of at most 1 MiB each, files excepted; with curl, use -F and set no Content-Type"
        )
    if isinstance(error.__cause__, UnicodeDecodeError):
        return f"the body is not valid UTF-8: see byte {error.__cause__.start + 1}"
    if isinstance(error.__cause__, RecursionError):
        return "the body is not valid JSON: it is nested too deeply"
    return "the body can't be read as JSON: a number in it may have too many digits"


def _validation_problem(error: RequestValidationError, request: Request) -> Problem:
    details = error.errors()
    # The location of invalid JSON in a body ends in a position; in a form's field, in the field's name.
    for detail in details:
        if detail["type"] == "json_invalid" and isinstance(detail["loc"][-1], int):
            text = messages.json_syntax(error.body, detail["loc"][-1])
            return Problem(400, ProblemType.MALFORMED, text)
    # The invalid input is left out: it may be huge, a secret, or NaN, which JSON can't represent.
    endpoint = request.scope["route"].endpoint
    errors = [
        FieldError(field=_field_name(detail["loc"]), message=messages.message(detail, endpoint))
        for detail in details[:MAX_FIELD_ERRORS]
    ]
    first = errors[0]
    return Problem(422, ProblemType.INVALID, f"{first.field}: {first.message}", errors=errors)


def _field_name(location: Sequence[str | int]) -> str:
    """Return `("body", "items", 3, "stop")` as `items[3].stop`, and the body itself as `body`."""
    source, *path = location
    if not path:
        return str(source)
    name = ""
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else f".{shown(part)}" if name else shown(part)
    return name


def shown(name: str) -> str:
    """Return a name from a request in a form that is safe to show: it may be long, or have unencodable characters."""
    return name.encode("unicode_escape").decode()[:MAX_FIELD_NAME]
