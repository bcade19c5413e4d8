"""What endpoints ask for by type: who calls, which page, how long to wait."""

import re
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request, Response, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from api.errors import Problem, ProblemType, invalid, shown
from api.waiting import Watcher
from db.queries import api_keys
from db.session import Database, get_database
from db.vocabulary import Role
from pagewright.artifacts import ArtifactStore, get_artifacts
from pagewright.settings import Settings, get_settings

MAX_WAIT_SECONDS = 60

_bearer = HTTPBearer(auto_error=False, description="An API key, as `pagewright keys create` prints it.")


@dataclass(frozen=True)
class Caller:
    key_id: uuid.UUID
    role: Role

    @property
    def owner(self) -> uuid.UUID | None:
        """Whose jobs the caller sees: its own, or with None, which an admin gets, everybody's."""
        return None if self.role == Role.ADMIN else self.key_id


@dataclass(frozen=True)
class PageRequest:
    limit: int
    after: uuid.UUID | None


class GuardedRoute(APIRoute):
    """Learns who calls, and what the body says it is, before it reads the body: a stranger's is never parsed, nor is
    a user's where the endpoint takes an admin.

    A query parameter that the endpoint does not know is refused, as a filter that is misspelt would find everything.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        fields = get_flat_params(self.dependant)
        parameters = {field.alias for field in fields if isinstance(field.field_info, params.Query)}
        admins_only = any(dependency.call is _require_admin for dependency in self.dependant.dependencies)
        takes_form = self.body_field is not None and isinstance(self.body_field.field_info, params.Form)
        media_type = "multipart/form-data" if takes_form else "application/json"
        said = re.compile(rf"{media_type}\s*(;|$)", re.IGNORECASE)

        async def guarded(request: Request) -> Response:
            credentials = await _bearer(request)
            if credentials is None:
                raise _unauthenticated("send an API key in the header `Authorization: Bearer ...`")
            request.state.caller = await run_in_threadpool(_authenticate, get_database(), credentials.credentials)
            if admins_only:
                await _require_admin(request.state.caller)
            if self.body_field is not None and not said.match(request.headers.get("Content-Type", "")):
                raise Problem(415, ProblemType.UNSUPPORTED_MEDIA_TYPE, f"send the body as `{media_type}`")
            if self.body_field is not None and request.headers.get("Content-Encoding", "identity") != "identity":
                raise Problem(415, ProblemType.UNSUPPORTED_MEDIA_TYPE, "send the body without a Content-Encoding")
            for name in request.query_params:
                if name not in parameters:
                    raise invalid(shown(name), "there is no such query parameter here")
            return await handle(request)

        return guarded


def _authenticate(database: Database, secret: str) -> Caller:
    with database.read() as session:
        key = api_keys.authenticate(session, secret)
    if key is None:
        raise _unauthenticated("the API key is not known")
    if key.revoked_at is not None:
        raise _unauthenticated("the API key was revoked")
    return Caller(key.id, Role(key.role))


def _unauthenticated(detail: str) -> Problem:
    return Problem(401, ProblemType.UNAUTHENTICATED, detail, headers={"WWW-Authenticate": "Bearer"})


async def _caller(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Caller:
    caller: Caller = request.state.caller
    return caller


async def _require_admin(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
    if caller.role != Role.ADMIN:
        raise Problem(403, ProblemType.FORBIDDEN, "this takes an admin key")
    return caller


async def _page_request(
    limit: Annotated[int, Query(ge=1, le=100, description="Items on a page.")] = 20,
    after: Annotated[uuid.UUID | None, Query(description="`next` of the page before.")] = None,
) -> PageRequest:
    return PageRequest(limit, after)


async def _wait_seconds(
    prefer: Annotated[
        str | None, Header(description="`wait=N` holds the request up to N seconds (60 at most) for the end.")
    ] = None,
) -> int:
    # RFC 7240: a preference that can't be understood is ignored.
    wait = re.search(r"(?:^|[,;])\s*wait\s*=\s*(\d{1,9})\s*(?:$|[,;])", prefer or "")
    return min(int(wait.group(1)), MAX_WAIT_SECONDS) if wait else 0


# Async, and so called at once: FastAPI sends a plain function to its thread pool.
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
        description="The same key with the same body gives the same job again; with another body, 409.",
    ),
]
ArtifactsDep = Annotated[ArtifactStore, Depends(_artifacts)]
DatabaseDep = Annotated[Database, Depends(_database)]
SettingsDep = Annotated[Settings, Depends(_settings)]
AnyCaller = Annotated[Caller, Depends(_caller)]
AdminCaller = Annotated[Caller, Depends(_require_admin)]
Paging = Annotated[PageRequest, Depends(_page_request)]
WaitSeconds = Annotated[int, Depends(_wait_seconds)]
WatcherDep = Annotated[Watcher, Depends(_watcher)]
