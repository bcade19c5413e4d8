"""Batches of generations: either all jobs are stored or none."""

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from db.session import Database
from tests.api.conftest import Worker
from tests.api.helpers import REQUEST, problem, stored, submit, submit_batch, walk

BATCH = "/v1/generations/batch"


def test_a_batch_is_answered_with_202_and_job_ids_in_the_order_of_the_items(as_user: TestClient) -> None:
    items = [REQUEST | {"prompt": f"Page {number}"} for number in range(5)]
    response = as_user.post(BATCH, json={"items": items})
    assert response.status_code == 202, response.text
    batch = response.json()
    assert response.headers["Location"] == f"{BATCH}/{batch['id']}"
    prompts = [as_user.get(f"/v1/generations/{job_id}").json()["prompt"] for job_id in batch["job_ids"]]
    assert prompts == [item["prompt"] for item in items]


def test_a_batch_counts_its_jobs_by_status(as_user: TestClient, worker: Worker) -> None:
    batch = submit_batch(as_user, 5)
    done, running, failed, cancelled, _ = batch["job_ids"]
    worker.finish(done)
    worker.claim(running)
    worker.fail(worker.claim(failed))
    as_user.post(f"/v1/jobs/{cancelled}/cancel")
    shown = as_user.get(f"{BATCH}/{batch['id']}").json()
    assert shown == {
        "id": batch["id"],
        "counts": {"queued": 1, "running": 1, "succeeded": 1, "failed": 1, "cancelled": 1},
    }


def test_the_generations_of_a_batch_can_be_listed(as_user: TestClient) -> None:
    submit(as_user)
    batch = submit_batch(as_user, 7)
    submit_batch(as_user, 2)
    listed = walk(as_user, "/v1/generations", batch_id=batch["id"], limit=3)
    assert [job["id"] for job in listed] == batch["job_ids"][::-1]


def test_a_batch_can_have_10000_generations(as_user: TestClient, database: Database, redis: Redis) -> None:
    batch = submit_batch(as_user, 10_000)
    assert len(set(batch["job_ids"])) == 10_000
    assert batch["counts"]["queued"] == 10_000
    assert stored(database) == (10_000, 10_000)
    messages = str(redis.lrange("test:generation", 0, -1))
    assert all(job_id in messages for job_id in (batch["job_ids"][0], batch["job_ids"][-1]))


@pytest.mark.parametrize("count", [0, 10_001])
def test_a_batch_has_1_to_10000_items(as_user: TestClient, database: Database, count: int) -> None:
    problem(as_user.post(BATCH, json={"items": [REQUEST] * count}), 422, "invalid", field="items")
    assert stored(database) == (0, 0)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"temperature": 2.5}, "items[3].temperature"),
        ({"model": "unknown"}, "items[3].model"),
        ({"prompt": ""}, "items[3].prompt"),
        ({"stop": ["a", ""]}, "items[3].stop[1]"),
        ({"extra": 1}, "items[3].extra"),
    ],
)
def test_an_invalid_item_is_named_and_nothing_is_stored(
    as_user: TestClient, database: Database, redis: Redis, bad: dict[str, object], field: str
) -> None:
    items = [REQUEST] * 3 + [REQUEST | bad] + [REQUEST]
    problem(as_user.post(BATCH, json={"items": items}), 422, "invalid", field=field)
    assert stored(database) == (0, 0)
    assert redis.llen("test:generation") == 0


def test_at_most_20_errors_are_listed(as_user: TestClient) -> None:
    response = as_user.post(BATCH, json={"items": [REQUEST | {"top_p": 2}] * 1000})
    assert len(problem(response, 422, "invalid", field="items[0].top_p")["errors"]) == 20
