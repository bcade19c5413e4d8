"""Manage API keys. Requires an admin key."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.dependencies import AdminCaller, DatabaseDep, GuardedRoute
from api.errors import document_problems, not_found
from api.schemas.api_keys import ApiKeyCreated, ApiKeyIn, ApiKeyOut
from api.schemas.common import PageOut, PageQuery
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
def list_api_keys(_: AdminCaller, database: DatabaseDep, query: Annotated[PageQuery, Query()]) -> PageOut[ApiKeyOut]:
    """List all API keys, newest first, including revoked ones."""
    with database.read() as session:
        page = api_keys.page(session, limit=query.limit, after=query.after)
    return PageOut.of(page.map(ApiKeyOut.of))


@router.delete("/{key_id}", summary="Revoke an API key", status_code=204, responses=document_problems(404))
def revoke_api_key(key_id: uuid.UUID, _: AdminCaller, database: DatabaseDep) -> None:
    """Revoke an API key immediately and permanently. Its jobs are kept, and those not finished continue."""
    with database.write() as session:
        if not api_keys.revoke(session, key_id):
            raise not_found("API key")
