"""Errors as `application/problem+json` (RFC 9457): a stable `type`, and the fields at fault by name."""

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

from db.session import UNREACHABLE

log = logging.getLogger(__name__)

MAX_FIELD_NAME = 64
MAX_FIELD_ERRORS = 20


class ProblemType(StrEnum):
    """What a client may branch on. On the wire each is `urn:pagewright:problem:<value>`."""

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
    field: str = Field(examples=["items[3].temperature"])
    message: str = Field(examples=["Input should be less than or equal to 2"])


class ProblemDocument(BaseModel):
    type: str = Field(examples=["urn:pagewright:problem:invalid"])
    title: str
    status: int
    detail: str
    errors: list[FieldError] = Field([], description="The fields at fault, where there are any.")


class Problem(HTTPException):
    """Raised anywhere; becomes the response.

    An HTTPException, because that is what FastAPI lets through where it reads the body.
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
    """A 422 about one field."""
    return Problem(422, ProblemType.INVALID, f"{field}: {message}", errors=[FieldError(field=field, message=message)])


def name_taken(what: str) -> Problem:
    """A 409 about the name of something: each has its own, as has what a job that is not over will make."""
    message = f"a {what} has this name already, or is about to get it"
    return Problem(409, ProblemType.CONFLICT, f"name: {message}", errors=[FieldError(field="name", message=message)])


def store_down() -> Problem:
    """A 503 for an OSError of the artifact store."""
    detail = "the artifact store does not answer; send the request again later"
    return Problem(503, ProblemType.UNAVAILABLE, detail, headers={"Retry-After": "5"})


def no_room(error: OSError) -> Problem:
    """A 503 for a disk of this machine, most likely a full one, that could not be written."""
    log.error("a file can't be written: %s", error)
    detail = "the server can't write a file, its disk may be full; send the request again later"
    return Problem(503, ProblemType.UNAVAILABLE, detail, headers={"Retry-After": "5"})


def not_found(what: str) -> Problem:
    return Problem(404, ProblemType.NOT_FOUND, f"there is no such {what}")


_CONTENT = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
ANY_PROBLEM: dict[int | str, dict[str, Any]] = {"default": {"description": "Any other problem.", "content": _CONTENT}}


def document_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What `responses=` of a route takes, so that OpenAPI shows the problems that it answers with."""
    return {status: {"description": HTTPStatus(status).phrase, "content": _CONTENT} for status in statuses}


def problem_schemas() -> dict[str, Any]:
    """The OpenAPI components that the documented problems refer to."""
    schema = ProblemDocument.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), ProblemDocument.__name__: schema}


def install(app: FastAPI) -> None:
    """Have `app` answer every error with a problem document."""

    async def problem(_: Request, error: Problem) -> JSONResponse:
        return error.response()

    async def invalid_request(_: Request, error: RequestValidationError) -> JSONResponse:
        return _validation_problem(error).response()

    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, OSError):  # FastAPI calls it the client's fault: a form that fills the disk
            return no_room(error.__cause__).response()
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_allowed_methods(app, request))
        return Problem(error.status_code, _http_type(error.status_code), str(error.detail), headers=headers).response()

    async def database_down(_: Request, error: Exception) -> JSONResponse:
        log.error("the database does not answer: %s", getattr(error, "orig", error))
        detail = "the database does not answer; send the request again later, a submit under its Idempotency-Key"
        return Problem(503, ProblemType.UNAVAILABLE, detail, headers={"Retry-After": "5"}).response()

    async def unforeseen(_: Request, error: Exception) -> JSONResponse:
        return Problem(500, ProblemType.INTERNAL, "this is a fault of the server; its log says more").response()

    app.add_exception_handler(Problem, problem)  # type: ignore[arg-type]  # Starlette types handlers by Exception
    app.add_exception_handler(RequestValidationError, invalid_request)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, http_error)  # type: ignore[arg-type]
    for unreachable in UNREACHABLE:
        app.add_exception_handler(unreachable, database_down)
    app.add_exception_handler(Exception, unforeseen)


def _http_type(status: int) -> ProblemType:
    types = {404: ProblemType.NOT_FOUND, 405: ProblemType.METHOD_NOT_ALLOWED}
    return types.get(status, ProblemType.MALFORMED if status < 500 else ProblemType.INTERNAL)


def _allowed_methods(app: FastAPI, request: Request) -> list[str]:
    """Of every route of the path; the framework names only those of the first."""
    return [
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        if any(
            # HEAD is answered wherever GET is, so it is looked up as GET.
            route.matches({**request.scope, "method": "GET" if method == "HEAD" else method})[0] == Match.FULL
            for route in app.routes
        )
    ]


def _validation_problem(error: RequestValidationError) -> Problem:
    details = error.errors()
    # a position says that it is the body; with a name it is a form's field that holds JSON
    if any(detail["type"] == "json_invalid" and isinstance(detail["loc"][-1], int) for detail in details):
        return Problem(400, ProblemType.MALFORMED, "the body is not valid JSON")
    # The offending input is left out: it may be huge, a secret, or NaN, which JSON can't hold.
    errors = [
        FieldError(field=_field_name(detail["loc"]), message=detail["msg"]) for detail in details[:MAX_FIELD_ERRORS]
    ]
    first = errors[0]
    return Problem(422, ProblemType.INVALID, f"{first.field}: {first.message}", errors=errors)


def _field_name(location: Sequence[str | int]) -> str:
    """`("body", "items", 3, "stop")` as `items[3].stop`; the whole body as `body`."""
    source, *path = location
    if not path:
        return str(source)
    name = ""
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else f".{shown(part)}" if name else shown(part)
    return name


def shown(name: str) -> str:
    """An unknown field's name is the client's own text: it may be long, or hold what UTF-8 cannot encode."""
    return name.encode("unicode_escape").decode()[:MAX_FIELD_NAME]
