"""A full queue answers 429 and stores nothing."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fastapi.testclient import TestClient

from db.session import Database
from tests.api.conftest import Worker
from tests.api.helpers import ASKED, problem, stored, submit, submit_batch

BATCH = "/v1/generations/batch"


def test_a_key_may_have_so_many_jobs_queued(
    as_user: TestClient, as_other_user: TestClient, database: Database, configure: Callable[..., None]
) -> None:
    configure(max_queued_per_key=3, retry_after_seconds=17)
    submit_batch(as_user, 2)
    problem(as_user.post(BATCH, json={"items": [ASKED] * 2}), 429, "queue-full")
    submit(as_user)
    refused = as_user.post("/v1/generations", json=ASKED)
    assert "this key" in problem(refused, 429, "queue-full")["detail"]
    assert refused.headers["Retry-After"] == "17"
    assert stored(database) == (3, 3)
    submit(as_other_user)


def test_the_server_has_so_many_jobs_queued_for_all_keys(
    as_user: TestClient, as_admin: TestClient, database: Database, configure: Callable[..., None]
) -> None:
    configure(max_queued=2)
    submit(as_user)
    submit(as_admin)
    refused = as_user.post("/v1/generations", json=ASKED)
    assert "the server" in problem(refused, 429, "queue-full")["detail"]
    assert int(refused.headers["Retry-After"]) > 0
    assert stored(database) == (2, 2)


def test_submits_at_the_same_moment_do_not_share_the_last_room(
    as_user: TestClient, database: Database, configure: Callable[..., None]
) -> None:
    configure(max_queued_per_key=50)
    with ThreadPoolExecutor(20) as clients:
        batches = [clients.submit(as_user.post, BATCH, json={"items": [ASKED] * 15}) for _ in range(20)]
        assert sorted(one.result().status_code for one in batches) == [202] * 3 + [429] * 17
        singles = [clients.submit(as_user.post, "/v1/generations", json=ASKED) for _ in range(20)]
        assert sorted(one.result().status_code for one in singles) == [202] * 5 + [429] * 15
    assert stored(database) == (50, 50)


def test_a_batch_that_never_fits_is_not_told_to_try_again(
    as_user: TestClient, database: Database, configure: Callable[..., None]
) -> None:
    configure(max_queued_per_key=1)
    problem(as_user.post(BATCH, json={"items": [ASKED] * 2}), 422, "invalid", "items")
    assert stored(database) == (0, 0)


def test_a_job_that_left_the_queue_makes_room(
    as_user: TestClient, worker: Worker, configure: Callable[..., None]
) -> None:
    configure(max_queued_per_key=1)
    for leave in (worker.claim, worker.finish, lambda job_id: as_user.post(f"/v1/jobs/{job_id}/cancel")):
        job = submit(as_user)
        problem(as_user.post("/v1/generations", json=ASKED), 429, "queue-full")
        leave(job["id"])


def test_a_submit_sent_again_is_answered_even_by_a_full_queue(
    as_user: TestClient, configure: Callable[..., None]
) -> None:
    configure(max_queued_per_key=1)
    key = {"Idempotency-Key": "k"}
    first = as_user.post("/v1/generations", json=ASKED, headers=key)
    assert as_user.post("/v1/generations", json=ASKED, headers=key).json() == first.json()
