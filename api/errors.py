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
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

log = logging.getLogger(__name__)


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


class Problem(Exception):
    """Raised anywhere below an endpoint; becomes the response."""

    def __init__(
        self,
        status: int,
        type: ProblemType,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.headers = headers
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


def not_found(what: str) -> Problem:
    return Problem(404, ProblemType.NOT_FOUND, f"there is no such {what}")


def document_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What `responses=` of a route takes, so that OpenAPI shows the problems that it answers with."""
    content = {"application/problem+json": {"schema": ProblemDocument.model_json_schema()}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def install(app: FastAPI) -> None:
    """Have `app` answer every error with a problem document."""

    def problem(_: Request, error: Problem) -> JSONResponse:
        return error.response()

    def invalid_request(_: Request, error: RequestValidationError) -> JSONResponse:
        return _validation_problem(error).response()

    def http_error(_: Request, error: HTTPException) -> JSONResponse:
        types = {
            400: ProblemType.MALFORMED,
            404: ProblemType.NOT_FOUND,
            405: ProblemType.METHOD_NOT_ALLOWED,
        }
        type = types.get(error.status_code, ProblemType.INTERNAL)
        headers = dict(error.headers) if error.headers else None
        return Problem(error.status_code, type, str(error.detail), headers=headers).response()

    def database_down(_: Request, error: OperationalError) -> JSONResponse:
        log.error("the database does not answer: %s", error.orig)
        detail = "the database does not answer; nothing was stored"
        return Problem(503, ProblemType.UNAVAILABLE, detail, headers={"Retry-After": "5"}).response()

    def unforeseen(_: Request, error: Exception) -> JSONResponse:
        return Problem(500, ProblemType.INTERNAL, "this is a fault of the server; its log says more").response()

    app.add_exception_handler(Problem, problem)  # type: ignore[arg-type]  # Starlette types handlers by Exception
    app.add_exception_handler(RequestValidationError, invalid_request)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, http_error)  # type: ignore[arg-type]
    app.add_exception_handler(OperationalError, database_down)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, unforeseen)


def _validation_problem(error: RequestValidationError) -> Problem:
    details = error.errors()
    if any(detail["type"] == "json_invalid" for detail in details):
        return Problem(400, ProblemType.MALFORMED, "the body is not valid JSON")
    # The offending input is left out: it may be huge, a secret, or NaN, which JSON can't hold.
    errors = [FieldError(field=_field_name(detail["loc"]), message=detail["msg"]) for detail in details[:20]]
    first = errors[0]
    return Problem(422, ProblemType.INVALID, f"{first.field}: {first.message}", errors=errors)


def _field_name(location: Sequence[str | int]) -> str:
    """`("body", "items", 3, "stop")` as `items[3].stop`; the whole body as `body`."""
    source, *path = location
    if not path:
        return str(source)
    name = ""
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name
