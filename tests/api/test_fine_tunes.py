"""Fine-tunes over HTTP: submitting, listing, reading steps."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from db import job_transitions
from db.queries import fine_tunes, job_events
from db.session import Database
from db.tables.datasets import Dataset
from db.tables.models import Model
from db.vocabulary import ModelKind, Role
from models.fine_tuning.options import LoraOptions, TrainingOptions
from tests.api.conftest import Server, Worker
from tests.api.helpers import problem, stored, walk

FINE_TUNES = "/v1/fine-tunes"
REQUEST = {"model": "starter", "dataset": "pages", "name": "mine"}
ROWS = [("Create a page.", "", "<p>One</p>")] * 4


@pytest.fixture(autouse=True)
def dataset(make_dataset: Callable[..., Dataset]) -> Dataset:
    return make_dataset(ROWS)


def create(client: Any, **changes: Any) -> dict[str, Any]:
    response = client.post(FINE_TUNES, json=REQUEST | changes)
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    assert response.headers["Location"] == f"{FINE_TUNES}/{job['id']}"
    return job


def test_the_defaults_are_the_original_experiments(as_admin: TestClient) -> None:
    job = create(as_admin)
    assert job["lora"] == {
        "r": 8,
        "alpha": 32,
        "dropout": 0.05,
        "target_modules": None,
        "bias": "none",
        "task_type": "CAUSAL_LM",
    }
    training = job["training"]
    assert (training["per_device_train_batch_size"], training["gradient_accumulation_steps"]) == (2, 4)
    assert (training["warmup_steps"], training["max_steps"], training["learning_rate"]) == (2, 100, 2e-4)
    assert (job["status"], job["split"], job["percent_done"], job["result_model_id"]) == ("queued", "train", None, None)


def test_the_options_are_stored_as_the_worker_reads_them(as_admin: TestClient) -> None:
    training = {"num_train_epochs": 3, "packing": True, "optim": "adamw_hf"}
    job = create(as_admin, lora={"r": 4, "target_modules": ["q_proj"]}, training=training)
    assert LoraOptions(**job["lora"]) == LoraOptions(r=4, target_modules=["q_proj"])
    assert TrainingOptions(**job["training"]) == TrainingOptions(num_train_epochs=3, packing=True)


def test_the_base_model_can_have_load_options(as_admin: TestClient) -> None:
    assert create(as_admin)["load"] is None
    load = {"method": "bitsandbytes", "bits": 4}
    job = create(as_admin, name="other", load=load)
    assert (job["load"], as_admin.get(f"{FINE_TUNES}/{job['id']}").json()["load"]) == (load, load)


def test_epochs_replace_the_default_number_of_steps(as_admin: TestClient) -> None:
    assert create(as_admin, training={"num_train_epochs": 3})["training"]["max_steps"] is None


def test_adamw_hf_becomes_adamw_torch_with_an_event(as_admin: TestClient) -> None:
    job = create(as_admin, training={"optim": "adamw_hf"})
    assert job["training"]["optim"] == "adamw_torch"
    [event] = job["events"]
    assert event["type"] == "adamw-hf"
    assert "adamw_torch" in event["message"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"model": "unknown"}, "model"),
        ({"dataset": "unknown"}, "dataset"),
        ({"split": "test"}, "split"),
        ({"split": "validation"}, "split"),
        ({"name": "a b"}, "name"),
        ({"devices": 0}, "devices"),
        ({"lora": {"r": 0}}, "lora.r"),
        ({"lora": {"r": 1.5}}, "lora.r"),
        ({"lora": {"dropout": 1}}, "lora.dropout"),
        ({"lora": {"target_modules": []}}, "lora.target_modules"),
        ({"lora": {"target_modules": "q_proj"}}, "lora.target_modules"),
        ({"lora": {"target_modules": ["../x"]}}, "lora.target_modules[0]"),
        ({"lora": {"task_type": "SEQ_CLS"}}, "lora.task_type"),
        ({"lora": {"rank": 8}}, "lora.rank"),
        ({"training": {"fp16": True, "bf16": True}}, "training.bf16"),
        ({"training": {"max_steps": 10, "num_train_epochs": 1}}, "training.num_train_epochs"),
        ({"training": {"max_steps": 0}}, "training.max_steps"),
        ({"training": {"learning_rate": 0}}, "training.learning_rate"),
        ({"training": {"learning_rate": "fast"}}, "training.learning_rate"),
        ({"training": {"optim": "adamw_bnb_8bit"}}, "training.optim"),
        ({"training": {"lr_scheduler_type": "quadratic"}}, "training.lr_scheduler_type"),
        ({"training": {"eval_steps": 10}}, "training.eval_steps"),
        ({"training": {"max_seq_length": 1}}, "training.max_seq_length"),
        ({"training": {"output_dir": "/"}}, "training.output_dir"),
        ({"load": {"method": "bitsandbytes", "bits": 2}}, "load.bits"),
        ({"load": {"method": "awq", "bits": 4}}, "load.method"),
        ({"load": {"method": "bitsandbytes", "bits": 4, "quant_type": "fp4"}}, "load.quant_type"),
    ],
    ids=str,
)
def test_an_invalid_fine_tune_is_refused_and_the_field_is_named(
    as_admin: TestClient, database: Database, changes: dict[str, Any], field: str
) -> None:
    before = stored(database)
    problem(as_admin.post(FINE_TUNES, json=REQUEST | changes), 422, "invalid", field=field)
    assert stored(database) == before


@pytest.mark.parametrize("targets", [["self_attn.q_proj"], ["all-linear"], "all-linear"])
def test_target_modules_are_names_or_all_linear(as_admin: TestClient, targets: list[str] | str) -> None:
    stored_targets = create(as_admin, lora={"target_modules": targets})["lora"]["target_modules"]
    assert stored_targets == (["all-linear"] if targets == "all-linear" else targets)


def test_quantized_weights_are_not_quantized_again_while_they_are_loaded(
    as_admin: TestClient, make_model: Callable[..., Model]
) -> None:
    make_model("small", kind=ModelKind.FULL, parameters={"quantization": {"method": "gptq", "bits": 4}})
    load = {"method": "bitsandbytes", "bits": 4}
    refused = problem(
        as_admin.post(FINE_TUNES, json=REQUEST | {"model": "small", "load": load}), 422, "invalid", "load"
    )
    assert "already quantized, by gptq: leave out `load`" in refused["detail"]
    assert create(as_admin, model="small")["load"] is None


def test_an_adapter_cannot_be_a_base_model(as_admin: TestClient, make_model: Callable[..., Model]) -> None:
    make_model("adapter")
    document = problem(as_admin.post(FINE_TUNES, json=REQUEST | {"model": "adapter"}), 422, "invalid", field="model")
    assert "merge it" in document["detail"]


def test_a_name_is_reserved_for_one_adapter(as_admin: TestClient, database: Database, worker: Worker) -> None:
    """A registered model, or the result of an unfinished job."""
    problem(as_admin.post(FINE_TUNES, json=REQUEST | {"name": "starter"}), 409, "conflict", field="name")
    job = create(as_admin)
    problem(as_admin.post(FINE_TUNES, json=REQUEST), 409, "conflict", field="name")
    bundled = {"name": "mine", "source": "bundled", "location": "starter"}
    problem(as_admin.post("/v1/models", json=bundled), 409, "conflict", field="name")
    as_admin.post(f"/v1/jobs/{job['id']}/cancel")
    create(as_admin)


def test_a_repeated_idempotency_key_returns_the_same_job(as_admin: TestClient) -> None:
    headers = {"Idempotency-Key": "one"}
    first, again = (as_admin.post(FINE_TUNES, json=REQUEST, headers=headers).json() for _ in range(2))
    assert first == again
    other = as_admin.post(FINE_TUNES, json=REQUEST | {"name": "other"}, headers=headers)
    problem(other, 409, "idempotency-conflict")


def test_fine_tunes_are_listed_newest_first(as_admin: TestClient, as_user: TestClient) -> None:
    ids = [create(as_admin, name=f"m{number}")["id"] for number in range(3)]
    assert [job["id"] for job in walk(as_admin, FINE_TUNES, limit=2)] == ids[::-1]
    assert [job["id"] for job in walk(as_admin, "/v1/jobs", kind="fine-tune")] == ids[::-1]
    assert walk(as_admin, FINE_TUNES, status="running") == []
    assert walk(as_user, FINE_TUNES) == []
    problem(as_user.get(f"{FINE_TUNES}/{ids[0]}"), 404, "not-found")
    problem(as_user.get(f"{FINE_TUNES}/{ids[0]}/steps"), 404, "not-found")


def measure(database: Database, job_id: str, steps: range) -> None:
    with database.write() as session:
        for step in steps:
            fine_tunes.add_step(session, uuid.UUID(job_id), step, epoch=0.5, loss=1 / step)


def test_steps_are_listed_in_pages(as_admin: TestClient, database: Database) -> None:
    job_id = create(as_admin)["id"]
    measure(database, job_id, range(1, 8))
    first = as_admin.get(f"{FINE_TUNES}/{job_id}/steps?limit=5").json()
    assert [item["step"] for item in first["items"]] == [1, 2, 3, 4, 5]
    last = as_admin.get(f"{FINE_TUNES}/{job_id}/steps?limit=5&after={first['next']}").json()
    assert ([item["step"] for item in last["items"]], last["next"]) == ([6, 7], None)
    assert last["items"][0]["loss"] == pytest.approx(1 / 6)
    for query in ("limit=0", "limit=1001", "after=x", "step=1"):
        assert as_admin.get(f"{FINE_TUNES}/{job_id}/steps?{query}").status_code == 422


def test_a_repeated_step_replaces_its_measurements(as_admin: TestClient, database: Database) -> None:
    job_id = create(as_admin)["id"]
    measure(database, job_id, range(1, 5))
    with database.write() as session:
        fine_tunes.add_step(session, uuid.UUID(job_id), 4, epoch=0.5, eval_loss=0.25)
        fine_tunes.add_step(session, uuid.UUID(job_id), 2, epoch=0.5, loss=9.0)
        fine_tunes.forget_steps_after(session, uuid.UUID(job_id), 3)
        fine_tunes.add_step(session, uuid.UUID(job_id), 4, epoch=0.5, loss=0.5)
    curve = as_admin.get(f"{FINE_TUNES}/{job_id}/steps").json()["items"]
    assert [(item["step"], item["loss"], item["eval_loss"]) for item in curve][1::2] == [(2, 9.0, None), (4, 0.5, None)]


def test_steps_and_events_are_streamed(server: Server, worker: Worker, database: Database) -> None:
    with server.client(Role.ADMIN) as client:
        job = create(client)
        [claim] = worker.claim(job["id"])
        measure(database, job["id"], range(1, 2))
        with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
            lines = stream.iter_lines()
            assert next_event(lines) == ("step", {"step": 1})
            assert next_event(lines)[0] == "job"
            measure(database, job["id"], range(2, 4))
            with database.write() as session:
                job_events.add(session, claim.job_id, claim.attempt, "out-of-memory", "half the batch")
                assert job_transitions.progress(session, claim, percent_done=3.0, remaining_seconds=97.0)
            assert next_event(lines) == ("event", {"type": "out-of-memory"})
            assert [next_event(lines) for _ in range(2)] == [("step", {"step": 2}), ("step", {"step": 3})]
            kind, state = next_event(lines)
            assert (kind, state["percent_done"], state["remaining_seconds"]) == ("job", 3.0, 97.0)


def next_event(lines: Any) -> tuple[str, dict[str, Any]]:
    """Return the next event's name, and the fields of its data that identify it."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        if line.startswith("data: "):
            data = json.loads(line.removeprefix("data: "))
            return name, data if name == "job" else {key: data[key] for key in ("step", "type") if key in data}
    raise AssertionError("the stream ended")


def test_only_the_attempt_that_holds_the_lease_can_write_progress(
    as_admin: TestClient, worker: Worker, database: Database
) -> None:
    [claim] = worker.claim(create(as_admin)["id"])
    with database.write() as session:
        job_transitions.requeue(session, [claim], "lost")
    with database.write() as session:
        assert not job_transitions.progress(session, claim, percent_done=50.0, remaining_seconds=1.0)
    assert as_admin.get(f"{FINE_TUNES}/{claim.job_id}").json()["percent_done"] is None
