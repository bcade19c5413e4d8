"""With an Idempotency-Key, a submission can safely be repeated."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from db.session import Database
from tests.api.conftest import Server, Worker
from tests.api.helpers import REQUEST, problem, stored

ONE = ("/v1/generations", REQUEST)
BATCH = ("/v1/generations/batch", {"items": [REQUEST, REQUEST | {"seed": 1}, REQUEST]})
KEY = {"Idempotency-Key": "order-66"}

both_kinds = pytest.mark.parametrize(("path", "body"), [ONE, BATCH], ids=["one", "batch"])


@both_kinds
def test_a_repeated_submission_returns_the_same_job_and_stores_nothing(
    as_user: TestClient, database: Database, path: str, body: dict[str, object]
) -> None:
    first = as_user.post(path, json=body, headers=KEY)
    rows = stored(database)
    again = as_user.post(path, json=body, headers=KEY)
    assert first.status_code == again.status_code == 202
    assert again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert stored(database) == rows


@both_kinds
def test_the_same_key_with_another_body_is_409_conflict(
    as_user: TestClient, database: Database, path: str, body: dict[str, object]
) -> None:
    assert as_user.post(path, json=body, headers=KEY).status_code == 202
    rows = stored(database)
    for other_path, other in (ONE[0], REQUEST | {"seed": 7}), (BATCH[0], {"items": [REQUEST]}):
        problem(as_user.post(other_path, json=other, headers=KEY), 409, "idempotency-conflict")
    assert stored(database) == rows


def test_bodies_that_differ_only_in_defaults_and_order_are_equal(as_user: TestClient) -> None:
    reordered = dict(reversed(REQUEST.items())) | {"temperature": 0, "stop": []}
    first = as_user.post("/v1/generations", json=REQUEST, headers=KEY)
    assert as_user.post("/v1/generations", json=reordered, headers=KEY).json() == first.json()


def test_a_repeated_submission_of_a_finished_job_is_200(as_user: TestClient, worker: Worker) -> None:
    job = as_user.post("/v1/generations", json=REQUEST, headers=KEY).json()
    worker.finish(job["id"])
    again = as_user.post("/v1/generations", json=REQUEST, headers=KEY)
    assert again.status_code == 200
    assert (again.json()["id"], again.json()["status"]) == (job["id"], "succeeded")


def test_idempotency_keys_are_separate_for_each_api_key(as_user: TestClient, as_other_user: TestClient) -> None:
    mine = as_user.post("/v1/generations", json=REQUEST, headers=KEY)
    theirs = as_other_user.post("/v1/generations", json=REQUEST | {"seed": 1}, headers=KEY)
    assert (mine.status_code, theirs.status_code) == (202, 202)
    assert mine.json()["id"] != theirs.json()["id"]


def test_without_an_idempotency_key_every_submission_is_a_new_job(as_user: TestClient) -> None:
    first, second = (as_user.post("/v1/generations", json=REQUEST).json()["id"] for _ in range(2))
    assert first != second


def test_a_refused_submission_does_not_use_up_its_key(as_user: TestClient) -> None:
    problem(
        as_user.post("/v1/generations", json=REQUEST | {"model": "unknown"}, headers=KEY), 422, "invalid", field="model"
    )
    assert as_user.post("/v1/generations", json=REQUEST, headers=KEY).status_code == 202


@both_kinds
def test_concurrent_submissions_with_the_same_key_create_one_job(
    server: Server, database: Database, path: str, body: dict[str, object]
) -> None:
    with server.client() as client, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: client.post(path, json=body, headers=KEY), range(8)))
    assert [answer.status_code for answer in answers] == [202] * 8, [answer.text for answer in answers]
    assert len({answer.text for answer in answers}) == 1
    count = len(body.get("items", [body]))  # type: ignore[arg-type]
    assert stored(database) == (count, count)


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "schl\u00fcssel"])
def test_an_idempotency_key_has_1_to_255_visible_ascii_characters(
    as_user: TestClient, database: Database, key: str
) -> None:
    response = as_user.post("/v1/generations", json=REQUEST, headers={b"Idempotency-Key": key.encode("latin-1")})
    problem(response, 422, "invalid", field="Idempotency-Key")
    assert stored(database) == (0, 0)
    assert as_user.post("/v1/generations", json=REQUEST, headers={"Idempotency-Key": "x" * 255}).status_code == 202
