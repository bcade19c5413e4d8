"""Quantization jobs on a build worker's runtime, each with a real process."""

import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from db import job_transitions
from db.queries import models
from db.session import Database
from db.tables.datasets import Dataset
from db.vocabulary import ErrorType, ModelKind, ModelSource
from tests.api.helpers import problem
from tests.databases import on_sqlite
from tests.processes import eventually
from tests.small_model import make_small
from tests.workers.conftest import page_rows
from workers.builds.quantization import quantize
from workers.runtime import Runtime

pytestmark = on_sqlite

Submit = Callable[..., uuid.UUID]
Show = Callable[[uuid.UUID], dict[str, Any]]


@pytest.fixture
def submit(as_admin: TestClient, make_dataset: Callable[..., Dataset], database: Database, tmp_path: Path) -> Submit:
    """Submits quantizations of the starter's first layer."""
    make_small(tmp_path / "models" / "small")
    with database.write() as session:
        models.add(session, "small", ModelSource.LOCAL, "small", None)
    make_dataset(page_rows(20), test=page_rows(2))

    def send(options: dict[str, Any] | None = None, **changes: Any) -> uuid.UUID:
        body = {"model": "small", "dataset": "pages", "name": "smaller", "report_rows": 0} | changes
        options = {"group_size": 64, "samples": 20} | (options or {})
        response = as_admin.post("/v1/quantizations", json=body | {"options": options})
        assert response.status_code == 202, response.text
        return uuid.UUID(response.json()["id"])

    return send


@pytest.fixture
def show(as_admin: TestClient) -> Show:
    def get(job_id: uuid.UUID) -> dict[str, Any]:
        body: dict[str, Any] = as_admin.get(f"/v1/quantizations/{job_id}").json()
        return body

    return get


def left_behind(runtime: Runtime) -> list[Any]:
    folders = list(runtime.work_folders.glob("*")) if runtime.work_folders.exists() else []
    with runtime.database.read() as session:
        return [
            *folders,
            *(path for path in runtime.artifacts.list("models") if not models.is_registered_at(session, path)),
        ]


def test_a_quantized_model_is_registered_with_its_parent_and_options(
    runtime: Runtime, submit: Submit, show: Show, as_admin: TestClient
) -> None:
    job_id = submit(report_rows=1)
    quantize(runtime, job_id)
    job = show(job_id)
    assert job["status"] == "succeeded", job
    assert job["percent_done"] == 100
    layers = {module["layer"] for module in job["modules"]}
    assert layers == set(range(len(layers)))
    assert len(job["modules"]) == 7 * len(layers)
    assert all(0 < module["relative_error"] < 1 for module in job["modules"])
    variants = {variant["variant"]: variant for variant in job["report"]}
    assert set(variants) >= {"original", "gptq", "bitsandbytes-8", "bitsandbytes-4"}
    assert variants["gptq"]["disk_bytes"] < variants["original"]["disk_bytes"]
    model = as_admin.get(f"/v1/models/{job['result_model_id']}").json()
    assert (model["name"], model["kind"], model["parent"]) == ("smaller", ModelKind.FULL, "small")
    assert model["parameters"]["quantization"]["bits"] == 4
    assert left_behind(runtime) == []

    [left] = [event for event in job["events"] if event["type"] == "weights-left"]
    assert "% of the weights are quantized" in left["message"]
    body = {"model": "smaller", "dataset": "pages", "name": "smaller-still"}
    assert (
        "already quantized" in problem(as_admin.post("/v1/quantizations", json=body), 422, "invalid", "model")["detail"]
    )


def test_an_impossible_quantization_fails_and_names_the_option_to_change(
    runtime: Runtime, submit: Submit, show: Show
) -> None:
    for options, name in (({"group_size": 1024}, "group_size"), ({"samples": 1, "max_length": 8}, "samples")):
        job_id = submit(options, name=f"by-{name}")
        quantize(runtime, job_id)
        job = show(job_id)
        assert (job["status"], job["error"]["type"]) == ("failed", ErrorType.INVALID_REQUEST)
        assert name in job["error"]["message"]
        assert job["result_model_id"] is None
    assert left_behind(runtime) == []


def test_a_cancelled_quantization_leaves_no_files_and_frees_the_name(
    runtime: Runtime, submit: Submit, show: Show, database: Database
) -> None:
    job_id = submit()
    working = threading.Thread(target=quantize, args=[runtime, job_id])
    working.start()
    eventually(lambda: bool(show(job_id)["modules"]), "the first quantized module")
    with database.write() as session:
        job_transitions.request_cancel(session, job_id)
    runtime.leases.heartbeat()
    working.join()
    assert (show(job_id)["status"], show(job_id)["result_model_id"]) == ("cancelled", None)
    assert left_behind(runtime) == []
    assert show(submit())["status"] == "queued"
