"""Deleting the files of datasets whose upload was killed before it registered them."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from db.queries import datasets
from db.session import Database
from db.tables.datasets import Dataset
from pagewright.artifacts import get_artifacts
from tests.processes import eventually
from workers.sweeper import sweep

ROWS = [("Create a page.", "", "<p>Page")]


@pytest.fixture
def abandoned(tmp_path: Path) -> str:
    """The files of an upload that was killed before it registered its dataset."""
    folder = tmp_path / "abandoned"
    folder.mkdir()
    (folder / "train.parquet.0123.partial").write_text("half")
    get_artifacts().put_folder(folder, datasets.artifact("abandoned"))
    return datasets.artifact("abandoned")


def test_files_of_killed_uploads_are_deleted_and_files_of_datasets_are_kept(
    database: Database, make_dataset: Callable[..., Dataset], abandoned: str
) -> None:
    kept = make_dataset(ROWS)
    assert abandoned in get_artifacts().list("datasets")
    sweep(database, get_artifacts())
    assert get_artifacts().list("datasets") == [datasets.artifact(kept.sha256)]


def test_files_of_an_upload_that_is_being_registered_are_kept(
    database: Database, make_dataset: Callable[..., Dataset], abandoned: str
) -> None:
    kept = make_dataset(ROWS)
    with database.write() as session:
        datasets.lock_content(session, "abandoned")
        sweeping = threading.Thread(target=sweep, args=[database, get_artifacts()])
        sweeping.start()
        columns = {column.name: getattr(kept, column.name) for column in Dataset.__table__.c if column.name != "id"}
        assert datasets.add(session, Dataset(**columns | {"name": "new", "sha256": "abandoned"}))
    eventually(lambda: not sweeping.is_alive(), "the end of the sweep")
    assert abandoned in get_artifacts().list("datasets")
