import uuid

from fastapi import APIRouter, Response

from api.dependencies import AdminCaller, DatabaseDep, GuardedRoute, Paging
from api.errors import document_problems, not_found
from api.schemas.api_keys import ApiKeyCreated, ApiKeyIn, ApiKeyOut
from api.schemas.common import PageOut
from db.queries import api_keys

router = APIRouter(
    prefix="/v1/api-keys", tags=["api keys"], route_class=GuardedRoute, responses=document_problems(401, 403, 422, 503)
)


@router.post("", status_code=201, responses=document_problems(400, 413, 415))
def create(body: ApiKeyIn, response: Response, _: AdminCaller, database: DatabaseDep) -> ApiKeyCreated:
    """Make a key. Its secret is in this answer and nowhere else."""
    with database.write() as session:
        key, secret = api_keys.create(session, body.name, body.role)
    response.headers["Cache-Control"] = "no-store"
    return ApiKeyCreated(**ApiKeyOut.of(key).model_dump(), key=secret)


@router.get("")
def index(_: AdminCaller, database: DatabaseDep, paging: Paging) -> PageOut[ApiKeyOut]:
    with database.read() as session:
        page = api_keys.page(session, limit=paging.limit, after=paging.after)
    return PageOut.of(page.map(ApiKeyOut.of))


@router.delete("/{key_id}", status_code=204, responses=document_problems(404))
def revoke(key_id: uuid.UUID, _: AdminCaller, database: DatabaseDep) -> None:
    """Revoke a key, at once and for good. Its jobs go on, and stay."""
    with database.write() as session:
        if not api_keys.revoke(session, key_id):
            raise not_found("API key")
