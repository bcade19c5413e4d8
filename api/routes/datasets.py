import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, Query, Response

from api.dependencies import AdminCaller, AnyCaller, ArtifactsDep, DatabaseDep, GuardedRoute, Paging, SettingsDep
from api.errors import document_problems, invalid, name_taken, no_room, not_found
from api.schemas.common import PageOut
from api.schemas.datasets import DatasetIn, DatasetOut, DatasetRowOut, DatasetRowsOut
from db.queries import datasets
from db.session import Database
from db.tables.datasets import Dataset
from db.vocabulary import DatasetSource, Split
from pagewright.settings import Settings
from pagewright.work_folders import work_folder

# api.datasets is imported where it is used: the libraries under it take longer to load than all the rest.

router = APIRouter(
    prefix="/v1/datasets", tags=["datasets"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)


# The file's name says what it holds.
_NAMED = {"Content-Disposition": {"example": 'form-data; name="file"; filename="pages.jsonl"'}}
_ENCODING = {"multipart/form-data": {"encoding": {"file": {"headers": _NAMED}}}}


@router.post(
    "",
    status_code=201,
    responses=document_problems(400, 403, 409, 413, 415),
    openapi_extra={"requestBody": {"content": _ENCODING}},
)
def create(
    body: Annotated[DatasetIn, Form(media_type="multipart/form-data")],
    response: Response,
    _: AdminCaller,
    database: DatabaseDep,
    artifacts: ArtifactsDep,
    settings: SettingsDep,
) -> DatasetOut:
    """Check every row of a file, split them and store them. Nothing can change the dataset after that."""
    from api.datasets import storing

    _check(database, body)
    try:
        with work_folder(settings.uploads) as folder:
            dataset = _prepare(body, settings, folder)
            storing.store(database, artifacts, dataset, folder / "splits")
    except OSError as error:
        raise no_room(error) from error
    response.headers["Location"] = f"/v1/datasets/{dataset.id}"
    return DatasetOut.of(dataset)


@router.get("")
def index(_: AnyCaller, database: DatabaseDep, paging: Paging) -> PageOut[DatasetOut]:
    with database.read() as session:
        page = datasets.page(session, limit=paging.limit, after=paging.after)
    return PageOut.of(page.map(DatasetOut.of))


@router.get("/{dataset_id}", responses=document_problems(404))
def show(dataset_id: uuid.UUID, _: AnyCaller, database: DatabaseDep) -> DatasetOut:
    return DatasetOut.of(_find(database, dataset_id))


@router.get("/{dataset_id}/rows", responses=document_problems(404))
def rows(
    dataset_id: uuid.UUID,
    _: AnyCaller,
    database: DatabaseDep,
    artifacts: ArtifactsDep,
    split: Split = Split.TRAIN,
    limit: Annotated[int, Query(ge=1, le=100, description="Rows on a page.")] = 20,
    after: Annotated[int, Query(ge=-1, le=2**31 - 1, description="`next` of the page before.")] = -1,
) -> DatasetRowsOut:
    """The rows of a split, in the order that they are trained and tested in."""
    from api.datasets import storing

    dataset = _find(database, dataset_id)
    start, end = after + 1, dataset.rows_of(split)
    found = storing.read_rows(artifacts, dataset.sha256, split, start, min(limit, end - start)) if start < end else []
    items = [DatasetRowOut(row=number, **row) for number, row in enumerate(found, start)]
    return DatasetRowsOut(items=items, next=items[-1].row if items and items[-1].row + 1 < end else None)


@router.delete("/{dataset_id}", status_code=204, responses=document_problems(403, 404, 409))
def delete(dataset_id: uuid.UUID, _: AdminCaller, database: DatabaseDep, artifacts: ArtifactsDep) -> None:
    """Delete a dataset, which frees its name. Models that were made of it stay."""
    from api.datasets import storing

    storing.delete(database, artifacts, dataset_id)


def _find(database: Database, dataset_id: uuid.UUID) -> Dataset:
    with database.read() as session:
        dataset = datasets.get(session, dataset_id)
    if dataset is None:
        raise not_found("dataset")
    return dataset


def _check(database: Database, body: DatasetIn) -> None:
    """What can be known before any row is read."""
    if body.file is None and body.hub is None:
        raise invalid("file", "give a file, or a dataset on the hub")
    if body.file is not None and body.hub is not None:
        raise invalid("hub", "give either this or a file")
    if body.hub is None and body.revision is not None:
        raise invalid("revision", "an uploaded file has no revision")
    if body.hub is not None and body.revision is None:
        raise invalid("revision", "a hub dataset is pinned to a commit: 40 hex digits")
    with database.read() as session:
        if datasets.get_by_name(session, body.name):
            raise name_taken("dataset")


def _prepare(body: DatasetIn, settings: Settings, folder: Path) -> Dataset:
    """The dataset that was asked for, not stored yet, with its files in a folder `splits` below `folder`."""
    from api.datasets.files import open_rows
    from api.datasets.hub import open_hub
    from api.datasets.limits import Unreadable
    from api.datasets.rows import checked, choose_columns
    from api.datasets.splitting import write_splits

    source = "hub" if body.file is None else "file"
    splits = folder / "splits"
    splits.mkdir()
    with ExitStack() as opened:
        try:
            if body.file is None:
                hub, revision = body.hub or "", body.revision or ""
                rows = open_hub(hub, revision, folder / "hub", opened, max_bytes=settings.max_upload_bytes)
            else:
                rows = open_rows(body.file.file, body.file.filename or "")
            columns = choose_columns(rows.columns, body.columns.named() if body.columns else None)
            triples = checked(rows, columns, max_characters=settings.max_upload_bytes)
            written = write_splits(triples, splits, test_fraction=body.test_fraction, seed=body.seed)
        except Unreadable as error:
            raise invalid(source, str(error)) from None
    if written is None:
        raise invalid(source, "has no rows")
    return Dataset(
        name=body.name,
        source=DatasetSource.UPLOAD if body.file else DatasetSource.HUB,
        location=body.file.filename if body.file else body.hub,
        revision=body.revision,
        columns=columns,
        test_fraction=body.test_fraction,
        seed=body.seed,
        sha256=written.sha256,
        train_rows=written.train_rows,
        test_rows=written.test_rows,
        overlapping_rows=written.overlapping_rows,
    )
