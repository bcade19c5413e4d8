"""Generations over HTTP: submitting, reading, and the page as HTML."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from db.session import Database
from db.tables.models import Model
from db.vocabulary import ModelKind
from tests.api.conftest import Worker
from tests.api.helpers import PAGE, REQUEST, problem, stored, submit

EVERYTHING = {
    "model": "starter",
    "prompt": "Create a table.",
    "input": "a, b\nÄ, 日本",
    "max_new_tokens": 131_072,
    "temperature": 2,
    "top_p": 0.01,
    "top_k": 1_000_000,
    "seed": 2**63 - 1,
    "stop": ["</html>", "\n\n"],
    "load": {"method": "bitsandbytes", "bits": 4},
}


def test_a_submission_is_answered_with_202_the_job_and_its_location(as_user: TestClient) -> None:
    submitted = as_user.post("/v1/generations", json=REQUEST)
    assert submitted.status_code == 202, submitted.text
    job = submitted.json()
    assert submitted.headers["Location"] == f"/v1/generations/{job['id']}"
    assert (job["kind"], job["status"], job["attempt"], job["batch_id"]) == ("generation", "queued", 0, None)
    polled = as_user.get(submitted.headers["Location"])
    assert polled.status_code == 200
    assert polled.json() == job


def test_a_job_id_is_a_uuid7_and_times_are_utc(as_user: TestClient) -> None:
    job = submit(as_user)
    assert job["id"][14] == "7"
    assert job["created_at"].endswith("Z")


def test_a_submission_publishes_one_message_with_only_the_id(as_user: TestClient, redis: Redis) -> None:
    job = submit(as_user, prompt="a secret plan")
    [message] = redis.lrange("test:generation", 0, -1)
    assert job["id"].encode() in message
    assert b"secret plan" not in message


def test_a_generation_shows_its_request(as_user: TestClient) -> None:
    job = submit(as_user, **EVERYTHING)
    assert {name: job[name] for name in EVERYTHING} == EVERYTHING


def test_the_default_is_greedy_sampling_without_a_limit(as_user: TestClient) -> None:
    job = submit(as_user)
    defaults = {name: job[name] for name in EVERYTHING if name not in REQUEST}
    assert defaults == {
        "input": "",
        "max_new_tokens": None,
        "temperature": 0,
        "top_p": 1,
        "top_k": 0,
        "seed": None,
        "stop": [],
        "load": None,
    }


def test_a_finished_generation_shows_its_completion_and_token_counts(as_user: TestClient, worker: Worker) -> None:
    job = submit(as_user)
    worker.finish(job["id"])
    shown = as_user.get(f"/v1/generations/{job['id']}").json()
    assert (shown["status"], shown["completion"], shown["finish_reason"]) == ("succeeded", PAGE, "stop")
    assert (shown["prompt_tokens"], shown["completion_tokens"], shown["attempt"]) == (7, 11, 1)
    assert shown["created_at"] <= shown["started_at"] <= shown["finished_at"]
    assert shown["error"] is None


def test_a_failed_generation_shows_its_error(as_user: TestClient, worker: Worker) -> None:
    job = submit(as_user)
    worker.fail(worker.claim(job["id"]), "no weights")
    shown = as_user.get(f"/v1/generations/{job['id']}").json()
    assert shown["status"] == "failed"
    assert shown["error"] == {"type": "model-unavailable", "message": "no weights"}


def test_an_unknown_model_is_named_and_nothing_is_stored(as_user: TestClient, database: Database) -> None:
    document = problem(
        as_user.post("/v1/generations", json=REQUEST | {"model": "pw_secret"}), 422, "invalid", field="model"
    )
    assert "pw_secret" not in str(document)
    assert stored(database) == (0, 0)


def test_weights_that_are_quantized_can_not_be_quantized_while_they_are_loaded(
    as_user: TestClient, make_model: Callable[..., Model]
) -> None:
    base = make_model("small", kind=ModelKind.FULL, parameters={"quantization": {"method": "gptq", "bits": 4}})
    make_model("adapter", parent_id=base.id)
    load = {"method": "bitsandbytes", "bits": 8}
    for model in ("small", "adapter"):
        refused = problem(
            as_user.post("/v1/generations", json=REQUEST | {"model": model, "load": load}), 422, "invalid", "load"
        )
        assert "already quantized, by gptq" in refused["detail"]


def test_the_page_is_served_as_html_in_a_sandbox(as_user: TestClient, worker: Worker) -> None:
    job = submit(as_user)
    worker.finish(job["id"])
    page = as_user.get(f"/v1/generations/{job['id']}/html")
    assert page.status_code == 200
    assert page.content == PAGE.encode()
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = [directive.strip() for directive in page.headers["Content-Security-Policy"].split(";")]
    assert "sandbox" in policy  # without exceptions: no allow-scripts, no allow-same-origin, no allow-forms
    assert {"default-src 'none'", "form-action 'none'", "base-uri 'none'"} <= set(policy)
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "private, no-store"


def test_the_page_of_an_unfinished_job_is_409_not_finished(as_user: TestClient, worker: Worker) -> None:
    job = submit(as_user)
    problem(as_user.get(f"/v1/generations/{job['id']}/html"), 409, "not-finished")
    worker.claim(job["id"])
    problem(as_user.get(f"/v1/generations/{job['id']}/html"), 409, "not-finished")


def test_a_failed_job_has_no_page(as_user: TestClient, worker: Worker) -> None:
    job = submit(as_user)
    worker.fail(worker.claim(job["id"]))
    problem(as_user.get(f"/v1/generations/{job['id']}/html"), 409, "no-completion")


def test_a_job_cancelled_while_running_keeps_its_partial_completion(as_user: TestClient, worker: Worker) -> None:
    job = submit(as_user)
    claims = worker.claim(job["id"])
    as_user.post(f"/v1/jobs/{job['id']}/cancel")
    worker.cancel(claims, completion="<h1>Half a")
    shown = as_user.get(f"/v1/generations/{job['id']}").json()
    assert (shown["status"], shown["finish_reason"]) == ("cancelled", "cancelled")
    assert as_user.get(f"/v1/generations/{job['id']}/html").text == "<h1>Half a"


@pytest.mark.parametrize("completion", ["", "\n", "<p>\U0001f600</p>" * 10_000])
def test_any_completion_is_served_as_a_page(as_user: TestClient, worker: Worker, completion: str) -> None:
    job = submit(as_user)
    worker.finish(job["id"], completion=completion)
    page = as_user.get(f"/v1/generations/{job['id']}/html")
    assert (page.status_code, page.text) == (200, completion)
