"""Storing and deleting datasets: their rows in the database, and their files in the artifact store.

Datasets with the same content share their files.
"""

import logging
import uuid
from pathlib import Path

import pyarrow.parquet as pq

from api.datasets.splitting import GROUP_ROWS
from api.errors import Problem, ProblemType, name_taken, not_found, store_unavailable
from db.queries import datasets
from db.session import Database
from db.tables.datasets import Dataset
from db.vocabulary import Split
from models.prompts.rows import Row, row_of
from pagewright.artifacts import ArtifactStore, os_errors

log = logging.getLogger(__name__)

BATCH_ROWS = 50
BUFFER_BYTES = 1_000_000

_FILES = {f"{split.value}.parquet" for split in Split}


def store(database: Database, artifacts: ArtifactStore, dataset: Dataset, folder: Path) -> None:
    """Store a dataset whose files are in `folder`.

    Raises a 409 Problem if its name is taken, and 503 if the artifact store is not available.
    """
    try:
        with database.write() as session:
            datasets.lock_content(session, dataset.sha256)
            if artifacts.files(datasets.artifact(dataset.sha256)).keys() != _FILES:
                artifacts.put_folder(folder, datasets.artifact(dataset.sha256))
            if datasets.add(session, dataset):
                return
    except OSError as error:
        raise store_unavailable() from error
    _delete_unused_files(database, artifacts, dataset.sha256)
    raise name_taken("dataset")


def delete(database: Database, artifacts: ArtifactStore, dataset_id: uuid.UUID) -> None:
    """Delete a dataset. Raises a 404 Problem if it does not exist, and 409 if an unfinished job uses it."""
    with database.write() as session:
        dataset = datasets.lock(session, dataset_id)
        if dataset is None:
            raise not_found("dataset")
        if datasets.in_use(session, dataset_id):
            raise Problem(409, ProblemType.CONFLICT, "an unfinished job uses this dataset")
        datasets.delete(session, dataset)
    _delete_unused_files(database, artifacts, dataset.sha256)


def read_rows(artifacts: ArtifactStore, sha256: str, split: Split, start: int, count: int) -> list[Row]:
    """Return up to `count` rows of a split, starting with number `start`.

    Raises a 404 Problem if the dataset's files are missing, and 503 if the artifact store is not available.
    """
    first = start // GROUP_ROWS
    try:
        with os_errors(), artifacts.open(datasets.split_file(sha256, split)) as file:
            parquet = pq.ParquetFile(file, buffer_size=BUFFER_BYTES)
            groups = range(first, min((start + count - 1) // GROUP_ROWS + 1, parquet.num_row_groups))
            # In small batches: a group of rows of the maximum length has gigabytes.
            batches = parquet.iter_batches(BATCH_ROWS, row_groups=groups)
            rows: list[Row] = []
            skip = start - first * GROUP_ROWS
            while len(rows) < count and (batch := next(batches, None)) is not None:
                rows += map(row_of, batch.slice(skip, count - len(rows)).to_pylist())
                skip = max(0, skip - len(batch))
    except FileNotFoundError:
        detail = "the files of the dataset are no longer in the artifact store"
        raise Problem(404, ProblemType.NOT_FOUND, detail) from None
    except OSError as error:
        raise store_unavailable() from error
    return rows


def _delete_unused_files(database: Database, artifacts: ArtifactStore, sha256: str) -> None:
    """Delete the files with this content if no dataset uses them."""
    try:
        with database.write() as session:
            datasets.lock_content(session, sha256)
            if not datasets.any_has_content(session, sha256):
                artifacts.delete(datasets.artifact(sha256))
    except OSError:
        log.exception("could not delete %s, which no dataset uses any more", datasets.artifact(sha256))
