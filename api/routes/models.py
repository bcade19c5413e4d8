import re
import uuid
from collections.abc import Sequence
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from api.archive import archive, archive_size
from api.dependencies import (
    AdminCaller,
    AnyCaller,
    ArtifactsDep,
    DatabaseDep,
    GuardedRoute,
    IdempotencyKey,
    Paging,
    SettingsDep,
)
from api.errors import Problem, ProblemType, document_problems, invalid, name_taken, not_found, store_down
from api.schemas.common import PageOut
from api.schemas.jobs import JobOut
from api.schemas.models import COMMIT, HUB_NAME, MergeIn, MergeOf, ModelIn, ModelOut
from api.submission import Submission, submit
from db.queries import jobs, models
from db.queries.models import ModelRow
from db.session import Database
from db.tables.jobs import Job
from db.tables.merges import Merge
from db.vocabulary import JobKind, ModelKind, ModelSource
from models.loading.quantization_config import read_quantization
from pagewright.settings import get_settings

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
    return ModelOut.of(_find(database, model_id))


@router.get(
    "/{model_id}/download",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}}},
        **document_problems(404, 409),
    },
)
def download(
    model_id: uuid.UUID, request: Request, _: AnyCaller, database: DatabaseDep, artifacts: ArtifactsDep
) -> Response:
    """The files of an adapter or a model that was made here, in a tar archive."""
    model = _find(database, model_id).model
    if model.source != ModelSource.ARTIFACT:
        raise Problem(409, ProblemType.CONFLICT, f"only models made here are downloaded; this one is {model.source}")
    try:
        files = artifacts.files(model.location)
    except OSError as error:
        raise store_down() from error
    if not files:
        raise Problem(404, ProblemType.NOT_FOUND, "the files of the model are no longer in the artifact store")
    folder = re.sub(r"[^A-Za-z0-9._-]", "_", model.name)
    headers = {
        "Content-Disposition": f'attachment; filename="{folder}.tar"',
        "Content-Length": str(archive_size(folder, files)),
    }
    if request.scope.get("head"):
        return Response(headers=headers, media_type="application/x-tar")
    return StreamingResponse(
        archive(artifacts, model.location, folder, files), headers=headers, media_type="application/x-tar"
    )


@router.post("", status_code=201, responses=document_problems(400, 403, 409, 413, 415))
def create(body: ModelIn, response: Response, _: AdminCaller, database: DatabaseDep) -> ModelOut:
    """Register a model: bundled, local, or on the hub at a pinned commit. Jobs can name no other."""
    directory = get_settings().local_models
    _check(body, directory)
    quantization = read_quantization(directory / body.location) if body.source == "local" else None
    parameters = {"quantization": quantization} if quantization else None
    asked = (body.name, ModelSource(body.source), body.location, body.revision, parameters)
    with database.write() as session:
        model = models.add(session, *asked) if models.name_is_free(session, body.name) else None
    if model is None:
        raise name_taken("model")
    response.headers["Location"] = f"/v1/models/{model.id}"
    return ModelOut.of(ModelRow(model, parent_name=None))


@router.post("/{model_id}/merge", status_code=202, responses=document_problems(400, 403, 404, 409, 413, 415, 429))
def merge(
    model_id: uuid.UUID,
    body: MergeIn,
    response: Response,
    caller: AdminCaller,
    database: DatabaseDep,
    settings: SettingsDep,
    idempotency_key: IdempotencyKey = None,
) -> JobOut:
    """Make one full model of an adapter and its base. It is registered when the job succeeds."""
    adapter = _find(database, model_id).model
    if adapter.kind != ModelKind.ADAPTER:
        raise Problem(409, ProblemType.CONFLICT, "only an adapter can be merged; this is a full model")

    def add(session: Session, new: Sequence[Job]) -> None:
        if not models.name_is_free(session, body.name):
            raise name_taken("model")
        jobs.add(session, new[0], Merge(job_id=new[0].id, model_id=adapter.id, name=body.name))

    # the adapter is a part of the request, as the key's memory has it
    asked = MergeOf(model_id=model_id, name=body.name)
    [job] = submit(database, settings, Submission(caller, JobKind.MERGE, 1, False, asked, idempotency_key), add)
    with database.read() as session:
        [job] = jobs.get_many(session, [job.id])
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return JobOut.of(job)


def _find(database: Database, model_id: uuid.UUID) -> ModelRow:
    with database.read() as session:
        row = models.get_with_parent(session, model_id)
    if row is None:
        raise not_found("model")
    return row


def _check(body: ModelIn, directory: Path) -> None:
    if body.source == "hub":
        if not HUB_NAME.fullmatch(body.location):
            raise invalid("location", "a hub model is named `owner/name`")
        if body.revision is None or not COMMIT.fullmatch(body.revision):
            raise invalid("revision", "a hub model is pinned to a commit: 40 hex digits")
        return
    if body.revision is not None:
        raise invalid("revision", f"a {body.source} model has no revision")
    if body.source == "bundled":
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
