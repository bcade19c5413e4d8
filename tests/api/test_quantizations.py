"""Quantizations over HTTP: submitting, listing, reading the report."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from db.queries import models, quantizations
from db.session import Database
from db.tables.datasets import Dataset
from db.tables.models import Model
from db.vocabulary import ModelKind
from models.quantization.options import QuantizationOptions
from tests.api.helpers import problem, stored, walk

QUANTIZATIONS = "/v1/quantizations"
REQUEST = {"model": "starter", "dataset": "pages", "name": "smaller"}
ROWS = [("Create a page.", "", "<p>One</p>")] * 4


@pytest.fixture(autouse=True)
def dataset(make_dataset: Callable[..., Dataset]) -> Dataset:
    return make_dataset(ROWS, test=ROWS[:2])


def create(client: Any, **changes: Any) -> dict[str, Any]:
    response = client.post(QUANTIZATIONS, json=REQUEST | changes)
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    assert response.headers["Location"] == f"{QUANTIZATIONS}/{job['id']}"
    return job


def test_the_defaults_are_4_bits_in_groups_calibrated_on_train_rows(as_admin: TestClient) -> None:
    job = create(as_admin)
    assert (job["kind"], job["status"], job["split"], job["result_model_id"]) == (
        "quantization",
        "queued",
        "train",
        None,
    )
    assert (job["options"]["bits"], job["options"]["group_size"], job["options"]["sym"]) == (4, 128, True)
    assert (job["report"], job["modules"], job["events"]) == ([], [], [])
    assert job["report_rows"] == 2


def test_the_options_are_stored_as_the_worker_reads_them(as_admin: TestClient) -> None:
    job = create(as_admin, options={"bits": 8, "group_size": -1})
    assert QuantizationOptions(**job["options"]) == QuantizationOptions(bits=8, group_size=-1)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"model": "nobody"}, "model"),
        ({"model": "baseline:constant"}, "model"),
        ({"dataset": "nowhere"}, "dataset"),
        ({"split": "all"}, "split"),
        ({"name": "a b"}, "name"),
        ({"name": "baseline:small"}, "name"),
        ({"options": {"bits": 5}}, "options.bits"),
        ({"options": {"group_size": 100}}, "options.group_size"),
        ({"options": {"damp_percent": 0}}, "options.damp_percent"),
        ({"options": {"samples": 0}}, "options.samples"),
        ({"options": {"max_length": 0}}, "options.max_length"),
        ({"options": {"backend": "marlin"}}, "options.backend"),
        ({"report_rows": -1}, "report_rows"),
    ],
)
def test_an_invalid_quantization_is_refused_and_the_field_is_named(
    as_admin: TestClient, database: Database, changes: dict[str, Any], field: str
) -> None:
    problem(as_admin.post(QUANTIZATIONS, json=REQUEST | changes), 422, "invalid", field)
    assert stored(database)[0] == 0


def test_an_adapter_must_be_merged_before_quantization(as_admin: TestClient, make_model: Callable[..., Model]) -> None:
    make_model("adapted")
    problem(as_admin.post(QUANTIZATIONS, json=REQUEST | {"model": "adapted"}), 422, "invalid", "model")


def test_a_quantized_model_is_refused(as_admin: TestClient, make_model: Callable[..., Model]) -> None:
    make_model("small", kind=ModelKind.FULL, parameters={"quantization": {"method": "gptq", "bits": 4}})
    refused = problem(as_admin.post(QUANTIZATIONS, json=REQUEST | {"model": "small"}), 422, "invalid", "model")
    assert "already quantized; use the model that they were quantized from" in refused["detail"]


def test_a_report_needs_rows_in_the_other_split(as_admin: TestClient, make_dataset: Callable[..., Dataset]) -> None:
    make_dataset(ROWS, name="untested")
    problem(as_admin.post(QUANTIZATIONS, json=REQUEST | {"dataset": "untested"}), 422, "invalid", "report_rows")
    assert create(as_admin, dataset="untested", report_rows=0)["report_rows"] == 0
    problem(
        as_admin.post(QUANTIZATIONS, json=REQUEST | {"dataset": "untested", "split": "test"}), 422, "invalid", "split"
    )


def test_a_name_is_reserved_when_the_job_is_submitted(as_admin: TestClient, database: Database) -> None:
    job = create(as_admin)
    problem(as_admin.post(QUANTIZATIONS, json=REQUEST), 409, "conflict", "name")
    fine_tune = {"model": "starter", "dataset": "pages", "name": "smaller"}
    problem(as_admin.post("/v1/fine-tunes", json=fine_tune), 409, "conflict", "name")
    as_admin.post(f"/v1/jobs/{job['id']}/cancel")
    assert create(as_admin)["status"] == "queued"
    with database.read() as session:
        assert models.get_by_name(session, "smaller") is None


def test_a_dataset_cannot_be_deleted_while_a_quantization_uses_it(as_admin: TestClient, dataset: Dataset) -> None:
    job = create(as_admin)
    problem(as_admin.delete(f"/v1/datasets/{dataset.id}"), 409, "conflict")
    as_admin.post(f"/v1/jobs/{job['id']}/cancel")
    assert as_admin.delete(f"/v1/datasets/{dataset.id}").status_code == 204


def test_the_report_and_the_errors_of_modules_are_shown(as_admin: TestClient, database: Database) -> None:
    job = create(as_admin)
    job_id = uuid.UUID(job["id"])
    module = {
        "layer": 0,
        "module": "self_attn.q_proj",
        "error": 0.5,
        "relative_error": 0.01,
        "tokens": 99,
        "seconds": 1.5,
    }
    measured: dict[str, Any] = {
        "disk_bytes": 10,
        "memory_bytes": 20,
        "perplexity": 1.5,
        "exact_match": 0.5,
        "chrf": 80.0,
        "rows": 2,
    }
    measured |= {"tokens_per_second": 100.0, "seconds": 3.0, "error": None}
    missing = dict.fromkeys(measured) | {"rows": 2, "error": "bitsandbytes is not installed"}
    with database.write() as session:
        quantizations.add_module(session, job_id, module)
        quantizations.add_variant(session, job_id, {"variant": "original", **measured})
        quantizations.add_variant(session, job_id, {"variant": "bitsandbytes-4", **missing})
    shown = as_admin.get(f"{QUANTIZATIONS}/{job['id']}").json()
    assert shown["modules"] == [module]
    assert {"variant": "original", **measured} in shown["report"]
    assert {"variant": "bitsandbytes-4", **missing} in shown["report"]
    with database.write() as session:
        quantizations.forget_measured(session, job_id)
    assert as_admin.get(f"{QUANTIZATIONS}/{job['id']}").json()["report"] == []


def test_quantizations_are_listed_newest_first(as_admin: TestClient, as_user: TestClient) -> None:
    created = [create(as_admin, name=f"smaller-{number}")["id"] for number in range(3)]
    assert [item["id"] for item in walk(as_admin, QUANTIZATIONS, limit=2)] == created[::-1]
    assert walk(as_admin, QUANTIZATIONS, status="succeeded") == []
    assert walk(as_user, QUANTIZATIONS) == []
    problem(as_user.get(f"{QUANTIZATIONS}/{created[0]}"), 404, "not-found")
