"""Merging an adapter with its base model over HTTP."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from db import job_transitions
from db.queries import job_events, models
from db.session import Database
from db.tables.models import Model
from db.vocabulary import ModelKind, Role
from tests.api.conftest import Server, Worker, until
from tests.api.helpers import problem
from tests.api.test_waiting import answer_of, only_job


@pytest.fixture
def path(make_model: Callable[..., Model]) -> str:
    """The path at which an adapter is merged."""
    return f"/v1/models/{make_model('adapter').id}/merge"


def test_only_an_existing_adapter_can_be_merged(as_admin: TestClient, database: Database) -> None:
    with database.read() as session:
        starter = models.get_by_name(session, "starter")
    assert starter is not None
    problem(as_admin.post(f"/v1/models/{starter.id}/merge", json={"name": "merged"}), 409, "conflict")
    problem(as_admin.post(f"/v1/models/{uuid.uuid4()}/merge", json={"name": "merged"}), 404, "not-found")


def test_an_adapter_of_quantized_weights_is_not_merged(as_admin: TestClient, make_model: Callable[..., Model]) -> None:
    base = make_model("small", kind=ModelKind.FULL, parameters={"quantization": {"method": "gptq", "bits": 4}})
    adapter = make_model("adapter", parent_id=base.id)
    refused = problem(as_admin.post(f"/v1/models/{adapter.id}/merge", json={"name": "merged"}), 409, "conflict")
    assert "its base model are quantized, by gptq" in refused["detail"]


def test_the_merged_model_needs_a_name_that_is_free(as_admin: TestClient, path: str) -> None:
    problem(as_admin.post(path, json={"name": "starter"}), 409, "conflict", field="name")
    problem(as_admin.post(path, json={}), 422, "invalid", field="name")


def test_a_merge_is_a_job_that_reserves_its_name(as_admin: TestClient, path: str) -> None:
    headers = {"Idempotency-Key": "one"}
    first, repeated = (as_admin.post(path, json={"name": "merged"}, headers=headers) for _ in range(2))
    job = first.json()
    assert (first.status_code, job["kind"], job["status"], job["events"]) == (202, "merge", "queued", [])
    assert first.headers["Location"] == f"/v1/merges/{job['id']}"
    assert repeated.json() == job
    problem(as_admin.post(path, json={"name": "merged"}), 409, "conflict", field="name")


def test_an_idempotency_key_covers_the_adapter_of_the_path(
    as_admin: TestClient, path: str, make_model: Callable[..., Model]
) -> None:
    headers = {"Idempotency-Key": "one"}
    assert as_admin.post(path, json={"name": "merged"}, headers=headers).status_code == 202
    other = f"/v1/models/{make_model('other').id}/merge"
    problem(as_admin.post(other, json={"name": "merged"}, headers=headers), 409, "idempotency-conflict")


def test_a_merge_can_be_waited_for_and_shows_its_model_and_events(
    server: Server, worker: Worker, database: Database, path: str, make_model: Callable[..., Model]
) -> None:
    with server.client(Role.ADMIN) as client:
        with answer_of(client, path, {"name": "merged"}, "wait=60") as answers:
            job = only_job(client)
            until(lambda: server.watcher.followers == 1)
            [claim] = worker.claim(job["id"])
            merged = make_model("merged", kind=ModelKind.FULL, job_id=claim.job_id)
            with database.write() as session:
                job_events.add(session, claim.job_id, claim.attempt, "waiting-for-disk", "the disk is full")
                assert job_transitions.succeed(session, [claim])
        [answer] = answers
        finished: dict[str, Any] = answer.json()
        assert (answer.status_code, finished["status"]) == (200, "succeeded"), answer.text
        assert answer.headers["Preference-Applied"] == "wait=60"
        assert finished["result_model_id"] == str(merged.id)
        assert [event["type"] for event in finished["events"]] == ["waiting-for-disk"]
        assert client.get(f"/v1/jobs/{job['id']}").json() == finished


def test_the_events_of_a_merge_are_streamed(server: Server, worker: Worker, database: Database, path: str) -> None:
    with server.client(Role.ADMIN) as client:
        job = client.post(path, json={"name": "merged"}).json()
        [claim] = worker.claim(job["id"])
        with database.write() as session:
            job_events.add(session, claim.job_id, claim.attempt, "waiting-for-disk", "the disk is full")
        with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
            lines = stream.iter_lines()
            names = [line.removeprefix("event: ") for line in (next(lines) for _ in range(5)) if "event: " in line]
    assert names == ["event", "job"]
