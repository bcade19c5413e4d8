"""What the processes of real builds print is log records, one a line."""

import logging
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from db.queries import models
from db.session import Database
from db.tables.datasets import Dataset
from db.vocabulary import ModelSource
from tests.databases import on_sqlite
from tests.small_model import make_small
from tests.workers.conftest import page_rows
from workers.builds.fine_tune import fine_tune
from workers.builds.merge import merge
from workers.builds.quantization import quantize
from workers.runtime import Runtime

RECORD = re.compile(r"(INFO|WARNING|ERROR|CRITICAL) [A-Za-z_][\w.]*: \S")
DRAWN = re.compile("[\r\x1b\u2500-\u259f]|it/s|%\\|")
"""A carriage return, an escape sequence, characters of boxes and bars, or the speed of a progress bar."""


@pytest.fixture(autouse=True)
def preloaded_processes() -> None:
    """Start whole processes here: libraries print while they are imported, and read there whether to draw bars."""


@on_sqlite
def test_the_processes_of_builds_print_log_records_alone(
    runtime: Runtime,
    as_admin: TestClient,
    database: Database,
    make_dataset: Callable[..., Dataset],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "models.tasks.process")
    make_small(tmp_path / "models" / "small")
    with database.write() as session:
        models.add(session, "small", ModelSource.LOCAL, "small", None)
    make_dataset(page_rows(20), test=page_rows(2))
    training = {"max_steps": 2, "eval_steps": 1}
    options = {"group_size": 64, "samples": 20}
    shared: dict[str, Any] = {"model": "small", "dataset": "pages"}
    for path, body, run in (
        ("/v1/fine-tunes", {**shared, "name": "tuned", "training": training}, fine_tune),
        ("/v1/models/tuned/merge", {"name": "merged"}, merge),
        ("/v1/quantizations", {**shared, "name": "smaller", "report_rows": 1, "options": options}, quantize),
    ):
        response = as_admin.post(path, json=body)
        assert response.status_code == 202, response.text
        run(runtime, uuid.UUID(response.json()["id"]))
        assert as_admin.get(response.headers["Location"]).json()["status"] == "succeeded"
    lines = [record.getMessage() for record in caplog.records if record.name == "models.tasks.process"]
    assert not [line for line in lines if DRAWN.search(line) or not RECORD.match(line)]
