"""Helpers for the tests of datasets."""

import io
import json
from collections.abc import Iterable
from contextlib import ExitStack
from typing import IO, Any

from api.datasets.files import open_rows
from api.datasets.unchecked import Rows, Unchecked
from api.datasets.unpacking import Opening
from pagewright.artifacts import get_artifacts
from tests.api.helpers import Upload, walk

DATASETS = "/v1/datasets"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROWS = [{"instruction": f"Create page {number}.", "input": "", "output": f"<p>{number}"} for number in range(8)]


def post(client: Any, rows: Any = ROWS, file: str = "pages.json", **fields: object) -> Any:
    content = rows if isinstance(rows, bytes) else json.dumps(rows).encode()
    texts = {"name": "pages"} | {name: str(value) for name, value in fields.items()}
    return client.post(DATASETS, **Upload(texts, file, content).request)


def create(client: Any, rows: Any = ROWS, file: str = "pages.json", **fields: object) -> dict[str, Any]:
    response = post(client, rows, file, **fields)
    assert response.status_code == 201, response.text
    assert response.headers["Location"] == f"{DATASETS}/{response.json()['id']}"
    created: dict[str, Any] = response.json()
    return created


def pages_of(client: Any, dataset_id: str, **query: object) -> list[dict[str, Any]]:
    return walk(client, f"{DATASETS}/{dataset_id}/rows", **query)


def contents() -> list[str]:
    """Return the paths of the datasets in the artifact store."""
    return get_artifacts().list("datasets")


def opened(file: IO[bytes] | bytes, *, max_bytes: int = 10**9, encoding: str | None = None) -> Rows:
    """Return the rows of a file, or of a file with this content."""
    content = io.BytesIO(file) if isinstance(file, bytes) else file
    return open_rows(content, Opening(None, ExitStack(), max_bytes, encoding))


def rows_of(values: Iterable[Any], columns: list[str] | None = None) -> Rows:
    """Return rows with these values, as if they were read from a file with these columns."""
    return Rows(
        columns or [], lambda _: (Unchecked(value, number) for number, value in enumerate(values, 1)), kind="JSONL"
    )
