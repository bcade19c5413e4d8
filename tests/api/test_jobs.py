"""Jobs of any kind: lists in pages, ownership, cancelling."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from db import job_transitions
from db.session import Database
from tests.api.conftest import Worker
from tests.api.helpers import problem, submit, submit_batch, walk

LISTS = ["/v1/jobs", "/v1/generations"]
lists = pytest.mark.parametrize("path", LISTS)


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]


@lists
def test_lists_are_newest_first_and_pages_have_no_overlap_or_gap(as_user: TestClient, path: str) -> None:
    submitted = submit_batch(as_user, 7)["job_ids"] + [submit(as_user)["id"] for _ in range(4)]
    for limit in (1, 4, 11, 100):
        assert ids(walk(as_user, path, limit=limit)) == submitted[::-1]


@lists
def test_jobs_submitted_meanwhile_do_not_shift_pages(as_user: TestClient, path: str) -> None:
    submitted = submit_batch(as_user, 6)["job_ids"]
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = as_user.get(path, params=query).json()
        seen += ids(page["items"])
        if page["next"] is None:
            break
        query["after"] = page["next"]
        submit(as_user)
    assert seen == submitted[::-1]


@lists
def test_a_page_has_20_items_by_default(as_user: TestClient, path: str) -> None:
    submit_batch(as_user, 21)
    page = as_user.get(path).json()
    assert len(page["items"]) == 20
    assert page["next"] == page["items"][-1]["id"]


@lists
def test_the_last_page_has_no_next(as_user: TestClient, path: str) -> None:
    assert as_user.get(path).json() == {"items": [], "next": None}
    submit_batch(as_user, 3)
    assert as_user.get(path, params={"limit": 3}).json()["next"] is None


@lists
def test_lists_can_be_filtered(as_user: TestClient, worker: Worker, path: str) -> None:
    single = submit(as_user)["id"]
    batch = submit_batch(as_user, 3)
    worker.finish(single, batch["job_ids"][0])
    assert ids(walk(as_user, path, status="succeeded", limit=1)) == [batch["job_ids"][0], single]
    assert ids(walk(as_user, path, batch_id=batch["id"], limit=2)) == batch["job_ids"][::-1]
    both = walk(as_user, path, batch_id=batch["id"], status="queued")
    assert ids(both) == batch["job_ids"][:0:-1]
    assert walk(as_user, path, batch_id=str(uuid.uuid4())) == []
    assert walk(as_user, path, status="failed") == []


def test_jobs_can_be_filtered_by_kind(as_user: TestClient) -> None:
    job = submit(as_user)
    assert ids(walk(as_user, "/v1/jobs", kind="generation")) == [job["id"]]


@lists
def test_a_user_sees_their_jobs_and_an_admin_sees_all(
    as_user: TestClient, as_other_user: TestClient, as_admin: TestClient, path: str
) -> None:
    mine, theirs, admins = submit(as_user)["id"], submit(as_other_user)["id"], submit(as_admin)["id"]
    assert ids(walk(as_user, path)) == [mine]
    assert ids(walk(as_other_user, path)) == [theirs]
    assert ids(walk(as_admin, path)) == [admins, theirs, mine]


@lists
def test_a_list_does_not_show_batches_of_others(as_user: TestClient, as_other_user: TestClient, path: str) -> None:
    batch = submit_batch(as_other_user, 2)
    assert walk(as_user, path, batch_id=batch["id"]) == []


def test_a_job_has_only_the_fields_of_every_kind(as_user: TestClient) -> None:
    generation = submit(as_user)
    job = as_user.get(f"/v1/jobs/{generation['id']}").json()
    assert job.pop("events") == []
    assert (job.pop("name"), job.pop("dataset")) == (None, None)
    job.pop("waiting_for")  # depends on how much time has passed
    assert job == {name: generation[name] for name in job}
    assert "prompt" not in job


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/{job}"),
        ("GET", "/v1/jobs/{job}/events"),
        ("POST", "/v1/jobs/{job}/cancel"),
        ("GET", "/v1/generations/{job}"),
        ("GET", "/v1/generations/{job}/html"),
        ("GET", "/v1/generations/batch/{batch}"),
    ],
)
def test_the_job_of_another_key_is_404_like_one_that_does_not_exist(
    as_user: TestClient, as_other_user: TestClient, as_admin: TestClient, worker: Worker, method: str, path: str
) -> None:
    batch = submit_batch(as_other_user, 2)
    running, finished = batch["job_ids"]
    worker.claim(running)
    worker.finish(finished)
    nobodys = as_user.request(method, path.format(job=uuid.uuid4(), batch=uuid.uuid4()))
    expected = problem(nobodys, 404, "not-found")
    for job in batch["job_ids"]:
        theirs = as_user.request(method, path.format(job=job, batch=batch["id"]))
        assert problem(theirs, 404, "not-found") == expected
    assert as_admin.request(method, path.format(job=finished, batch=batch["id"])).status_code == 200
    assert as_other_user.get(f"/v1/jobs/{running}").json()["cancel_requested"] is False


def test_a_queued_job_is_cancelled_immediately(as_user: TestClient, worker: Worker) -> None:
    job = submit(as_user)
    cancelled = as_user.post(f"/v1/jobs/{job['id']}/cancel")
    assert cancelled.status_code == 200
    assert cancelled.json()["status"] == "cancelled"
    assert cancelled.json()["finished_at"] is not None
    with pytest.raises(AssertionError):
        worker.claim(job["id"])


def test_cancelling_a_running_job_requests_that_it_stops(as_user: TestClient, worker: Worker) -> None:
    job = submit(as_user)
    worker.claim(job["id"])
    cancelled = as_user.post(f"/v1/jobs/{job['id']}/cancel").json()
    assert (cancelled["status"], cancelled["cancel_requested"], cancelled["finished_at"]) == ("running", True, None)


@pytest.mark.parametrize("end", ["succeed", "fail"])
def test_cancelling_a_finished_job_changes_nothing(as_user: TestClient, worker: Worker, end: str) -> None:
    job = submit(as_user)
    finish: Callable[[object], None] = getattr(worker, end)
    finish(worker.claim(job["id"]))
    before = as_user.get(f"/v1/jobs/{job['id']}").json()
    assert as_user.post(f"/v1/jobs/{job['id']}/cancel").json() == before


def test_cancelling_again_changes_nothing(as_user: TestClient) -> None:
    job = submit(as_user)
    first = as_user.post(f"/v1/jobs/{job['id']}/cancel").json()
    assert as_user.post(f"/v1/jobs/{job['id']}/cancel").json() == first


@pytest.mark.parametrize(
    ("end", "percent_done", "remaining_seconds"),
    [
        ("", 50.0, 12.0),
        ("succeed", 100.0, 0.0),
        ("cancel", 50.0, None),
        ("give_back", 50.0, None),
    ],
)
def test_the_remaining_seconds_are_those_of_a_job_that_runs(
    as_user: TestClient,
    worker: Worker,
    database: Database,
    end: str,
    percent_done: float,
    remaining_seconds: float | None,
) -> None:
    [claim] = worker.claim(submit(as_user)["id"])
    with database.write() as session:
        job_transitions.progress(session, claim, percent_done=50.0, remaining_seconds=12.0)
        if end:
            getattr(job_transitions, end)(session, [claim])
    for path in (f"/v1/jobs/{claim.job_id}", f"/v1/generations/{claim.job_id}"):
        job = as_user.get(path).json()
        assert (job["percent_done"], job["remaining_seconds"]) == (percent_done, remaining_seconds)
