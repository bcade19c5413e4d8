"""Datasets of instructions and pages, for fine-tunes, evaluations and quantizations."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Form, Query, Response

from api.dependencies import AdminCaller, AnyCaller, ArtifactsDep, DatabaseDep, GuardedRoute, SettingsDep
from api.errors import disk_full, document_problems, invalid, name_taken
from api.references import MAX_NAMES, Reference, missing
from api.schemas.common import NamedPageQuery, PageOut
from api.schemas.datasets import DatasetIn, DatasetOut, DatasetRowOut, DatasetRowsOut, DatasetRowsQuery, OnInvalid
from db.queries import datasets
from db.session import Database
from db.tables.datasets import Dataset
from db.vocabulary import DatasetSource
from models.prompts.rows import Row
from pagewright.settings import Settings
from pagewright.work_folders import work_folder

if TYPE_CHECKING:
    from api.datasets.hub import Source
    from api.datasets.unpacking import Opening

# The functions below import `api.datasets` themselves: the libraries that it needs take longer to load than the rest of
# the API together.

router = APIRouter(
    prefix="/v1/datasets", tags=["datasets"], route_class=GuardedRoute, responses=document_problems(401, 422, 503)
)


# Tells clients to send the file's name, which the dataset shows.
_FILE_HEADERS = {"Content-Disposition": {"example": 'form-data; name="file"; filename="pages.jsonl"'}}
_ENCODING = {"multipart/form-data": {"encoding": {"file": {"headers": _FILE_HEADERS}}}}


@router.post(
    "",
    summary="Create a dataset",
    status_code=201,
    responses=document_problems(400, 403, 409, 413, 415),
    openapi_extra={"requestBody": {"content": _ENCODING}},
)
def create_dataset(
    form: Annotated[DatasetIn, Form(media_type="multipart/form-data")],
    response: Response,
    _: AdminCaller,
    database: DatabaseDep,
    artifacts: ArtifactsDep,
    settings: SettingsDep,
) -> DatasetOut:
    """Create a dataset from an uploaded file or from the Hugging Face Hub.

    Every row is checked, and the rows are split into a train and a test split. A dataset can't be changed afterwards.
    Requires an admin key.
    """
    from api.datasets import storing

    _check_form(database, form)
    try:
        with work_folder(settings.uploads) as folder:
            dataset = _prepare(form, settings, folder)
            storing.store(database, artifacts, dataset, folder / "splits")
    except OSError as error:
        raise disk_full(error) from error
    response.headers["Location"] = f"/v1/datasets/{dataset.id}"
    return DatasetOut.of(dataset)


@router.get("", summary="List datasets")
def list_datasets(
    _: AnyCaller, database: DatabaseDep, query: Annotated[NamedPageQuery, Query()]
) -> PageOut[DatasetOut]:
    """List all datasets, newest first."""
    with database.read() as session:
        page = datasets.page(session, name=query.name, limit=query.limit, after=query.after)
    return PageOut.of(page.map(DatasetOut.of))


@router.get("/{dataset:reference}", summary="Get a dataset", responses=document_problems(404))
def get_dataset(dataset: Reference, _: AnyCaller, database: DatabaseDep) -> DatasetOut:
    """Get a dataset's name, source and number of rows."""
    return DatasetOut.of(_find(database, dataset))


@router.get("/{dataset:reference}/rows", summary="List the rows of a dataset", responses=document_problems(404))
def list_dataset_rows(
    dataset: Reference,
    _: AnyCaller,
    database: DatabaseDep,
    artifacts: ArtifactsDep,
    query: Annotated[DatasetRowsQuery, Query()],
) -> DatasetRowsOut:
    """List the rows of a split, in the order of their numbers."""
    from api.datasets import storing

    found = _find(database, dataset)
    start, end = query.after + 1, found.rows_of(query.split)
    count = max(0, min(query.limit, end - start))
    rows = storing.read_rows(artifacts, found.sha256, query.split, start, count) if count else []
    items = [DatasetRowOut.model_validate({"row": number, **asdict(row)}) for number, row in enumerate(rows, start)]
    return DatasetRowsOut(items=items, next=items[-1].row if items and items[-1].row + 1 < end else None)


@router.delete(
    "/{dataset:reference}", summary="Delete a dataset", status_code=204, responses=document_problems(403, 404, 409)
)
def delete_dataset(dataset: Reference, _: AdminCaller, database: DatabaseDep, artifacts: ArtifactsDep) -> None:
    """Delete a dataset. Its name can be used again, and models trained on it are kept.

    A dataset that an unfinished job uses can't be deleted. Requires an admin key.
    """
    from api.datasets import storing

    storing.delete(database, artifacts, _find(database, dataset).id)


def _find(database: Database, reference: str) -> Dataset:
    with database.read() as session:
        dataset = datasets.find(session, reference)
        if dataset is None:
            raise missing("dataset", reference, datasets.all_names(session, MAX_NAMES))
    return dataset


def _check_form(database: Database, form: DatasetIn) -> None:
    """Check everything that can be checked without reading rows."""
    if form.file is None and form.hub is None:
        raise invalid("file", "either `file` or `hub` is required")
    if form.file is not None and form.hub is not None:
        raise invalid("hub", "`hub` and `file` can't be combined")
    for field in "revision", "config", "train_split", "test_split":
        if form.hub is None and getattr(form, field) is not None:
            raise invalid(field, f"`{field}` is only allowed with `hub`")
    if form.test_split is not None and form.test_fraction:
        raise invalid("test_split", "`test_split` and `test_fraction` can't be combined; leave one of them out")
    if form.hub is not None and form.revision is None:
        raise invalid("revision", "a hub dataset needs a commit hash of 40 hexadecimal digits")
    with database.read() as session:
        if datasets.get_by_name(session, form.name):
            raise name_taken("dataset")


def _prepare(form: DatasetIn, settings: Settings, folder: Path) -> Dataset:
    """Write the dataset's files into `folder`/splits, and return its row, which is not stored yet."""
    from api.datasets.limits import Unreadable
    from api.datasets.rows import Report, check_rows, choose_columns
    from api.datasets.splitting import write_splits
    from api.datasets.unchecked import Rows
    from api.datasets.unpacking import Opening

    source = "hub" if form.file is None else "file"
    (folder / "splits").mkdir()
    report = Report()
    with ExitStack() as open_files:
        opening = Opening(folder, open_files, settings.max_upload_bytes, form.encoding)

        def checked(rows: Rows) -> Iterator[Row]:
            skip = form.on_invalid == OnInvalid.SKIP
            return check_rows(rows, columns, report, max_characters=settings.max_upload_bytes, skip_invalid=skip)

        try:
            unchecked = _open(form, folder, opening)
            columns = choose_columns(unchecked.train, form.columns.named() if form.columns else None)
            splits = write_splits(
                checked(unchecked.train),
                folder / "splits",
                test_fraction=form.test_fraction,
                seed=form.seed,
                test_rows=checked(unchecked.test) if unchecked.test else None,
            )
        except Unreadable as error:
            raise invalid(source, str(error)) from None
    if splits is None:
        raise invalid(source, "the file has no rows" if form.file else "the dataset has no rows")
    return Dataset(
        name=form.name,
        source=DatasetSource.UPLOAD if form.file else DatasetSource.HUB,
        location=form.file.filename if form.file else form.hub,
        revision=form.revision,
        config=unchecked.config,
        train_split=unchecked.train_split,
        test_split=unchecked.test_split,
        columns=columns,
        unused_columns=report.unused,
        test_fraction=form.test_fraction,
        seed=form.seed,
        skipped_rows=report.skipped,
        skipped=[error.model_dump() for error in report.errors],
        sha256=splits.sha256,
        train_rows=splits.train_rows,
        test_rows=splits.test_rows,
        overlapping_rows=splits.overlapping_rows,
    )


def _open(form: DatasetIn, folder: Path, opening: "Opening") -> "Source":
    from api.datasets.files import open_rows
    from api.datasets.hub import Source, Wanted, open_hub

    if form.file is not None:
        return Source(open_rows(form.file.file, opening))
    wanted = Wanted(
        form.hub or "",
        form.revision or "",
        form.config,
        form.train_split,
        form.test_split,
        own_test=not form.test_fraction,
    )
    return open_hub(wanted, folder / "hub", opening)
