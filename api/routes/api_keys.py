"""Manage API keys. Requires an admin key."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.dependencies import AdminCaller, DatabaseDep, GuardedRoute
from api.errors import Problem, ProblemType, document_problems, not_found
from api.references import Reference
from api.schemas.api_keys import ApiKeyCreated, ApiKeyIn, ApiKeyOut, ApiKeysQuery
from api.schemas.common import PageOut
from db.queries import api_keys

router = APIRouter(
    prefix="/v1/api-keys", tags=["api keys"], route_class=GuardedRoute, responses=document_problems(401, 403, 422, 503)
)


@router.post("", summary="Create an API key", status_code=201, responses=document_problems(400, 413, 415))
def create_api_key(body: ApiKeyIn, response: Response, _: AdminCaller, database: DatabaseDep) -> ApiKeyCreated:
    """Create an API key. The response is the only place where the key itself is shown."""
    with database.write() as session:
        key, secret = api_keys.create(session, body.name, body.role)
    response.headers["Cache-Control"] = "no-store"
    return ApiKeyCreated(**ApiKeyOut.of(key).model_dump(), key=secret)


@router.get("", summary="List API keys")
def list_api_keys(_: AdminCaller, database: DatabaseDep, query: Annotated[ApiKeysQuery, Query()]) -> PageOut[ApiKeyOut]:
    """List all API keys, newest first, including revoked ones."""
    with database.read() as session:
        page = api_keys.page(session, name=query.name, limit=query.limit, after=query.after)
    return PageOut.of(page.map(ApiKeyOut.of))


@router.delete("/{key:reference}", summary="Revoke an API key", status_code=204, responses=document_problems(404, 409))
def revoke_api_key(key: Reference, _: AdminCaller, database: DatabaseDep) -> None:
    """Revoke an API key immediately and permanently. Its jobs are kept, and those not finished continue.

    If several valid keys have the name, none is revoked: use the id.
    """
    with database.write() as session:
        found = api_keys.find(session, key)
        if not found:
            raise not_found("API key")
        if len(found) > 1 and found[0].revoked_at is None:
            ids = ", ".join(str(one.id) for one in found)
            raise Problem(409, ProblemType.CONFLICT, f"several valid keys have this name; use the id of one: {ids}")
        for one in found:
            api_keys.revoke(session, one.id)
