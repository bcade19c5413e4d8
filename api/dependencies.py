"""Dependencies of the endpoints: the caller, the settings, the stores, how long to wait. And the checks before a body
is read."""

import inspect
import re
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from api import messages
from api.errors import Problem, ProblemType, invalid, shown
from api.waiting import Watcher
from db.queries import api_keys
from db.session import Database, get_database
from db.vocabulary import Role
from pagewright.artifacts import ArtifactStore, get_artifacts
from pagewright.settings import Settings, get_settings

MAX_WAIT_SECONDS = 60

_bearer = HTTPBearer(auto_error=False, description="An API key, as printed by `pagewright keys create`.")


@dataclass(frozen=True)
class Caller:
    """The API key that a request was sent with."""

    key_id: uuid.UUID
    role: Role

    @property
    def owner(self) -> uuid.UUID | None:
        """The key whose jobs the caller may see; None for an admin, who may see all jobs."""
        return None if self.role == Role.ADMIN else self.key_id


class GuardedRoute(APIRoute):
    """A route that checks the API key (401), the role (403), the query (422) and the body's headers (415) before
    FastAPI reads the body.

    FastAPI parses the body before it calls any dependency, so these checks can't be dependencies. They follow from
    the parameters of the endpoint:

    - a parameter of type `AdminCaller` requires the admin role;
    - `body` is a JSON body, and `form` a multipart form;
    - `query` is a model of the query parameters, which refuses unknown ones; an endpoint without it takes none.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        parameters = inspect.signature(self.endpoint).parameters
        admin_only = any(parameter.annotation == AdminCaller for parameter in parameters.values())
        media_type = next((_MEDIA_TYPES[name] for name in parameters if name in _MEDIA_TYPES), None)

        async def guarded(request: Request) -> Response:
            request.state.caller = await _authenticated(request)
            if admin_only:
                await _require_admin(request.state.caller)
            if media_type:
                _check_body_headers(request, media_type)
            if "query" not in parameters and request.query_params:
                name = next(iter(request.query_params))
                raise invalid(shown(name), messages.unknown(name, (), is_query=True))
            return await handle(request)

        return guarded


_MEDIA_TYPES = {"body": "application/json", "form": "multipart/form-data"}


async def _authenticated(request: Request) -> Caller:
    credentials = await _bearer(request)
    if credentials is None:
        raise _unauthenticated("send an API key in the header `Authorization: Bearer <key>`")
    return await run_in_threadpool(_authenticate, get_database(), credentials.credentials)


def _authenticate(database: Database, secret: str) -> Caller:
    with database.read() as session:
        key = api_keys.authenticate(session, secret)
    if key is None:
        raise _unauthenticated("the API key is unknown")
    if key.revoked_at is not None:
        raise _unauthenticated("the API key is revoked")
    return Caller(key.id, Role(key.role))


def _unauthenticated(detail: str) -> Problem:
    return Problem(401, ProblemType.UNAUTHENTICATED, detail, headers={"WWW-Authenticate": "Bearer"})


def _check_body_headers(request: Request, media_type: str) -> None:
    if not re.match(rf"{media_type}\s*(;|$)", request.headers.get("Content-Type", ""), re.IGNORECASE):
        raise Problem(415, ProblemType.UNSUPPORTED_MEDIA_TYPE, f"the Content-Type must be `{media_type}`")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Problem(415, ProblemType.UNSUPPORTED_MEDIA_TYPE, "a Content-Encoding is not supported")


async def _caller(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Caller:
    caller: Caller = request.state.caller
    return caller


async def _require_admin(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
    if caller.role != Role.ADMIN:
        raise Problem(403, ProblemType.FORBIDDEN, "this operation requires an admin key")
    return caller


async def _wait_seconds(
    prefer: Annotated[
        str | None,
        Header(
            description="`wait=N` makes the request wait for the job to finish, for up to N seconds (at most "
            f"{MAX_WAIT_SECONDS}).",
        ),
    ] = None,
) -> int:
    # RFC 7240: a preference that can't be understood is ignored.
    wait = re.search(r"(?:^|[,;])\s*wait\s*=\s*(\d{1,9})\s*(?:$|[,;])", prefer or "")
    return min(int(wait.group(1)), MAX_WAIT_SECONDS) if wait else 0


# These are async because FastAPI runs a plain function in its thread pool, which costs more than the function itself.
async def _database() -> Database:
    return get_database()


async def _settings() -> Settings:
    return get_settings()


async def _artifacts() -> ArtifactStore:
    return get_artifacts()


async def _watcher(request: Request) -> Watcher:
    watcher: Watcher = request.app.state.watcher
    return watcher


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A repeated request with the same key and body returns the job of the first one instead of a new "
        "job. The same key with another body is refused with 409.",
    ),
]
ArtifactsDep = Annotated[ArtifactStore, Depends(_artifacts)]
DatabaseDep = Annotated[Database, Depends(_database)]
SettingsDep = Annotated[Settings, Depends(_settings)]
AnyCaller = Annotated[Caller, Depends(_caller)]
AdminCaller = Annotated[Caller, Depends(_require_admin)]
WaitSeconds = Annotated[int, Depends(_wait_seconds)]
WatcherDep = Annotated[Watcher, Depends(_watcher)]
