import uuid
from pathlib import Path

from fastapi import APIRouter, Response

from api.dependencies import AdminCaller, AnyCaller, DatabaseDep, GuardedRoute, Paging
from api.errors import Problem, ProblemType, document_problems, invalid, not_found
from api.schemas.common import PageOut
from api.schemas.models import COMMIT, HUB_NAME, ModelIn, ModelOut
from db import models
from db.tables import ModelSource
from settings import get_settings

router = APIRouter(
    prefix="/v1/models", tags=["models"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)


@router.get("")
def index(_: AnyCaller, database: DatabaseDep, paging: Paging) -> PageOut[ModelOut]:
    with database.read() as session:
        page = models.page(session, limit=paging.limit, after=paging.after)
    return PageOut.of(page.map(ModelOut.of))


@router.get("/{model_id}", responses=document_problems(404))
def show(model_id: uuid.UUID, _: AnyCaller, database: DatabaseDep) -> ModelOut:
    with database.read() as session:
        model = models.get(session, model_id)
    if model is None:
        raise not_found("model")
    return ModelOut.of(model)


@router.post("", status_code=201, responses=document_problems(400, 403, 409, 413, 415))
def create(body: ModelIn, response: Response, _: AdminCaller, database: DatabaseDep) -> ModelOut:
    """Register a model: bundled, local, or on the hub at a pinned commit. Jobs can name no other."""
    _check(body, get_settings().local_models)
    with database.write() as session:
        model = models.add(session, body.name, body.source, body.location, body.revision)
    if model is None:
        raise Problem(409, ProblemType.CONFLICT, "a model of that name is registered already")
    response.headers["Location"] = f"/v1/models/{model.id}"
    return ModelOut.of(model)


def _check(body: ModelIn, directory: Path) -> None:
    if body.source == ModelSource.HUB:
        if not HUB_NAME.fullmatch(body.location):
            raise invalid("location", "a hub model is named `owner/name`")
        if body.revision is None or not COMMIT.fullmatch(body.revision):
            raise invalid("revision", "a hub model is pinned to a commit: 40 hex digits")
        return
    if body.revision is not None:
        raise invalid("revision", f"a {body.source.value} model has no revision")
    if body.source == ModelSource.BUNDLED:
        if body.location not in models.BUNDLED:
            raise invalid("location", f"the bundled models are: {', '.join(models.BUNDLED)}")
        return
    try:
        _check_local(directory.resolve(), (directory / body.location).resolve())
    except (OSError, RuntimeError):  # a name too long, a loop of links, a folder that may not be read
        raise invalid("location", "can't be read") from None


def _check_local(directory: Path, folder: Path) -> None:
    if not folder.is_relative_to(directory) or folder == directory:
        raise invalid("location", "leads out of the models directory")
    if not (folder / "config.json").is_file():
        raise invalid("location", "no folder of that name with a config.json is in the models directory")
    if not any(folder.glob("*.safetensors")):
        raise invalid("location", "the folder has no *.safetensors; other weight formats are not loaded")
