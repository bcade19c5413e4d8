"""Models that jobs can use, and merging an adapter with its base model."""

import logging
import re
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.archive import archive, archive_size
from api.dependencies import AdminCaller, AnyCaller, ArtifactsDep, DatabaseDep, GuardedRoute
from api.errors import Problem, ProblemType, document_problems, invalid, name_taken, not_found, store_unavailable
from api.prompting import template_columns
from api.references import MAX_NAMES, Reference, missing, stored_quantization
from api.routes.jobs import find_job_details
from api.routes.merges import router as merges_router
from api.schemas.common import NamedPageQuery, PageOut
from api.schemas.jobs import JobDetails
from api.schemas.models import HUB_NAME, REVISION, MergeIn, MergeRequest, ModelIn, ModelOut
from api.submission import SubmitterDep
from db.queries import jobs, models
from db.queries.models import ModelRow
from db.session import Database
from db.tables.jobs import Job
from db.tables.merges import Merge
from db.vocabulary import JobKind, ModelKind, ModelSource
from models.loading import hub
from models.loading.description import ModelFiles, describe_files
from models.loading.hub import HubModel, HubUnreachable, NotOnHub
from models.loading.quantization_config import quantization_summary
from models.loading.refs import ModelLoadError
from models.prompts.templates import AUTO
from pagewright.settings import get_settings

log = logging.getLogger(__name__)

LOOK_UP_SECONDS = 8.0
"""How long the hub may take to answer when a model is registered."""

router = APIRouter(
    prefix="/v1/models", tags=["models"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)


@router.get("", summary="List models")
def list_models(_: AnyCaller, database: DatabaseDep, query: Annotated[NamedPageQuery, Query()]) -> PageOut[ModelOut]:
    """List all registered models, newest first."""
    with database.read() as session:
        page = models.page(session, name=query.name, limit=query.limit, after=query.after)
    return PageOut.of(page.map(ModelOut.of))


@router.get("/{model:reference}", summary="Get a model", responses=document_problems(404))
def get_model(model: Reference, _: AnyCaller, database: DatabaseDep) -> ModelOut:
    """Get a model: where its files are, and how a job created it."""
    return ModelOut.of(_find(database, model))


@router.get(
    "/{model:reference}/download",
    summary="Download a model",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}}},
        **document_problems(404, 409),
    },
)
def download_model(
    model: Reference, request: Request, _: AnyCaller, database: DatabaseDep, artifacts: ArtifactsDep
) -> Response:
    """Download the files of a model that a job created, as a tar archive."""
    found = _find(database, model).model
    if found.source != ModelSource.ARTIFACT:
        raise Problem(
            409,
            ProblemType.CONFLICT,
            f"only models created by jobs can be downloaded; the source of this one is {found.source}",
        )
    try:
        files = artifacts.files(found.location)
    except OSError as error:
        raise store_unavailable() from error
    if not files:
        raise Problem(404, ProblemType.NOT_FOUND, "the files of the model are no longer in the artifact store")
    folder = re.sub(r"[^A-Za-z0-9._-]", "_", found.name)
    headers = {
        "Content-Disposition": f'attachment; filename="{folder}.tar"',
        "Content-Length": str(archive_size(folder, files)),
    }
    if request.scope.get("head"):
        return Response(headers=headers, media_type="application/x-tar")
    return StreamingResponse(
        archive(artifacts, found.location, folder, files), headers=headers, media_type="application/x-tar"
    )


@router.post("", summary="Register a model", status_code=201, responses=document_problems(400, 403, 409, 413, 415))
def register_model(body: ModelIn, response: Response, _: AdminCaller, database: DatabaseDep) -> ModelOut:
    """Register a bundled model, a local one, or a model on the Hugging Face Hub.

    A hub model is looked up: a branch or a tag becomes the commit that it is now, and what no worker can load is
    refused. If the hub does not answer within seconds, the model is registered all the same, with a note. Jobs can use
    registered models only. Requires an admin key.
    """
    directory = get_settings().local_models
    _check(body, directory)
    revision = (body.revision or "main") if body.source == "hub" else None
    found = _look_up(body.location, revision) if revision else None
    files = found.files if found else None
    quantization = files.quantization if files else None
    if body.source == "local":
        files = _local_files(directory / body.location)
        quantization = quantization_summary(directory / body.location)
    with database.write() as session:
        if not models.name_is_free(session, body.name):
            raise name_taken("model")
        model = models.add(
            session,
            body.name,
            ModelSource(body.source),
            body.location,
            revision,
            found.commit if found else None,
            asdict(files) if files else None,
            quantization,
            **template_columns(session, None if body.template == AUTO else body.template),
        )
    if model is None:
        raise name_taken("model")
    response.headers["Location"] = f"/v1/models/{model.id}"
    return ModelOut.of(ModelRow(model, parent_name=None))


@router.post(
    "/{model:reference}/merge",
    summary="Merge an adapter",
    status_code=202,
    responses={200: {"model": JobDetails}, **document_problems(400, 403, 404, 409, 413, 415, 429)},
)
async def merge_model(
    model: Reference, body: MergeIn, caller: AdminCaller, database: DatabaseDep, submitter: SubmitterDep
) -> JobDetails:
    """Submit a job that merges an adapter with its base model into a full model.

    The merged model is registered when the job succeeds. Requires an admin key.
    """
    adapter = await run_in_threadpool(_find, database, model)
    merge = MergeRequest(model_id=adapter.model.id, name=body.name)
    find = partial(find_job_details, database, caller.owner)
    return await submitter.submit_one(
        caller, JobKind.MERGE, merge, partial(_add_merge, merge), find, merges_router.prefix
    )


def _add_merge(merge: MergeRequest, session: Session, job: Job) -> None:
    adapter = models.get(session, merge.model_id)
    if adapter is None:
        raise not_found("model")
    if adapter.kind != ModelKind.ADAPTER:
        raise Problem(409, ProblemType.CONFLICT, "only adapters can be merged; this is a full model")
    if quantization := stored_quantization(session, adapter):
        message = (
            f"the weights of its base model are quantized, by {quantization['method']}, and an adapter can't be merged "
            "into them; use the adapter without merging, or fine-tune and merge the model that they were quantized from"
        )
        raise Problem(409, ProblemType.CONFLICT, message)
    if not models.name_is_free(session, merge.name):
        raise name_taken("model")
    jobs.add(session, job, Merge(job_id=job.id, model_id=adapter.id, name=merge.name))


def _find(database: Database, reference: str) -> ModelRow:
    with database.read() as session:
        row = models.find_with_parent(session, reference)
        if row is None:
            raise missing("model", reference, models.all_names(session, MAX_NAMES))
    return row


def _check(body: ModelIn, local_models: Path) -> None:
    """Raise a 422 Problem if the location or the revision does not fit the source."""
    if body.source == "hub":
        if not HUB_NAME.fullmatch(body.location):
            raise invalid("location", "the location of a hub model must be `owner/name`")
        if body.revision is not None and not REVISION.fullmatch(body.revision):
            raise invalid("revision", "must be a branch, a tag or a commit, such as `main`")
        return
    if body.revision is not None:
        raise invalid("revision", f"a {body.source} model has no revision")
    if body.source == "bundled":
        if body.location not in models.BUNDLED:
            raise invalid("location", f"the bundled models are: {', '.join(models.BUNDLED)}")
        return
    try:
        _check_local(local_models.resolve(), (local_models / body.location).resolve())
    except (OSError, RuntimeError):  # a name that is too long, a loop of links, a folder without read permission
        raise invalid("location", "the folder can't be read") from None


def _look_up(location: str, revision: str) -> HubModel | None:
    """Return what the hub has, or what the cache has if the hub does not answer; None if neither does.

    Raises a 422 Problem if the hub does not give the model, or if no worker can load it.
    """
    try:
        try:
            return hub.look_up(location, revision, LOOK_UP_SECONDS)
        except HubUnreachable as error:
            log.warning("%s is not looked up: %s", location, error)
            return hub.look_up_in_cache(location, revision)
    except ModelLoadError as error:
        part = error.part if isinstance(error, NotOnHub) else "location"
        raise invalid(part, str(error).removeprefix(f"{location}: ")) from error


def _local_files(folder: Path) -> ModelFiles | None:
    """Return what the files of a local model are, or None if no worker can load them: the worker's error says why."""
    try:
        sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
        return describe_files(folder.name, folder, sizes)
    except (OSError, ModelLoadError):
        return None


def _check_local(local_models: Path, folder: Path) -> None:
    if not folder.is_relative_to(local_models) or folder == local_models:
        raise invalid("location", "the folder must be inside the models directory")
    if not (folder / "config.json").is_file():
        raise invalid("location", "the models directory has no folder with this name that contains a config.json")
    if not any(folder.glob("*.safetensors")):
        raise invalid("location", "the folder has no *.safetensors files; other weight formats are not supported")
