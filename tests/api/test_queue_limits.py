"""A submission beyond a queue limit is answered with 429 and stores nothing."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fastapi.testclient import TestClient

from db.session import Database
from tests.api.conftest import Worker
from tests.api.helpers import REQUEST, problem, stored, submit, submit_batch

BATCH = "/v1/generations/batch"


def test_the_number_of_queued_jobs_per_key_is_limited(
    as_user: TestClient, as_other_user: TestClient, database: Database, configure: Callable[..., None]
) -> None:
    configure(max_queued_per_key=3, retry_after_seconds=17)
    submit_batch(as_user, 2)
    problem(as_user.post(BATCH, json={"items": [REQUEST] * 2}), 429, "queue-full")
    submit(as_user)
    refused = as_user.post("/v1/generations", json=REQUEST)
    assert "this API key" in problem(refused, 429, "queue-full")["detail"]
    assert refused.headers["Retry-After"] == "17"
    assert stored(database) == (3, 3)
    submit(as_other_user)


def test_the_total_number_of_queued_jobs_is_limited(
    as_user: TestClient, as_admin: TestClient, database: Database, configure: Callable[..., None]
) -> None:
    configure(max_queued=2)
    submit(as_user)
    submit(as_admin)
    refused = as_user.post("/v1/generations", json=REQUEST)
    assert "the server" in problem(refused, 429, "queue-full")["detail"]
    assert int(refused.headers["Retry-After"]) > 0
    assert stored(database) == (2, 2)


def test_concurrent_submissions_do_not_exceed_the_limit(
    as_user: TestClient, database: Database, configure: Callable[..., None]
) -> None:
    configure(max_queued_per_key=50)
    with ThreadPoolExecutor(20) as clients:
        batches = [clients.submit(as_user.post, BATCH, json={"items": [REQUEST] * 15}) for _ in range(20)]
        assert sorted(one.result().status_code for one in batches) == [202] * 3 + [429] * 17
        singles = [clients.submit(as_user.post, "/v1/generations", json=REQUEST) for _ in range(20)]
        assert sorted(one.result().status_code for one in singles) == [202] * 5 + [429] * 15
    assert stored(database) == (50, 50)


def test_a_batch_larger_than_the_limit_is_422_without_retry_after(
    as_user: TestClient, database: Database, configure: Callable[..., None]
) -> None:
    configure(max_queued_per_key=1)
    problem(as_user.post(BATCH, json={"items": [REQUEST] * 2}), 422, "invalid", "items")
    assert stored(database) == (0, 0)


def test_a_job_that_left_the_queue_no_longer_counts(
    as_user: TestClient, worker: Worker, configure: Callable[..., None]
) -> None:
    configure(max_queued_per_key=1)
    for leave in (worker.claim, worker.finish, lambda job_id: as_user.post(f"/v1/jobs/{job_id}/cancel")):
        job = submit(as_user)
        problem(as_user.post("/v1/generations", json=REQUEST), 429, "queue-full")
        leave(job["id"])


def test_a_repeated_submission_is_answered_although_the_queue_is_full(
    as_user: TestClient, configure: Callable[..., None]
) -> None:
    configure(max_queued_per_key=1)
    key = {"Idempotency-Key": "k"}
    first = as_user.post("/v1/generations", json=REQUEST, headers=key)
    assert as_user.post("/v1/generations", json=REQUEST, headers=key).json() == first.json()
