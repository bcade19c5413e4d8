"""`Prefer: wait=N` makes a submission wait for its job, for up to N seconds."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from db.session import Database
from tests.api.conftest import Server, Worker, until
from tests.api.helpers import PAGE, REQUEST, submit

BATCH = "/v1/generations/batch"


@contextmanager
def answer_of(client: httpx.Client, path: str, body: object, prefer: str) -> Iterator[list[httpx.Response]]:
    """Submit a job while the block runs. The yielded list has the response after the block."""
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(client.post(path, json=body, headers={"Prefer": prefer})))
    thread.start()
    yield answers
    thread.join()


def only_job(client: httpx.Client) -> dict[str, Any]:
    until(lambda: client.get("/v1/jobs").json()["items"])
    [job] = client.get("/v1/jobs").json()["items"]
    return dict(job)


def test_a_job_that_finishes_during_the_wait_is_returned(server: Server, worker: Worker) -> None:
    with server.client() as client:
        with answer_of(client, "/v1/generations", REQUEST, "wait=15") as answers:
            job = only_job(client)
            until(lambda: server.watcher.followers == 1)
            claims = worker.claim(job["id"])
            time.sleep(0.1)
            assert not answers
            worker.succeed(claims)
        [answer] = answers
    assert answer.status_code == 200, answer.text
    assert (answer.json()["status"], answer.json()["completion"]) == ("succeeded", PAGE)
    assert answer.headers["Location"] == f"/v1/generations/{job['id']}"
    assert answer.headers["Preference-Applied"] == "wait=15"
    assert server.watcher.followers == 0


def test_the_wait_ends_when_the_job_is_cancelled(server: Server) -> None:
    with server.client() as client:
        with answer_of(client, "/v1/generations", REQUEST, "wait=15") as answers:
            client.post(f"/v1/jobs/{only_job(client)['id']}/cancel")
        assert (answers[0].status_code, answers[0].json()["status"]) == (200, "cancelled")


def test_a_job_that_does_not_finish_during_the_wait_is_202(server: Server) -> None:
    with server.client() as client:
        start = time.monotonic()
        answer = client.post("/v1/generations", json=REQUEST, headers={"Prefer": "wait=1"})
        assert time.monotonic() - start >= 1
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.headers["Preference-Applied"] == "wait=1"
    assert server.watcher.followers == 0


def test_the_wait_for_a_batch_ends_with_its_last_job(server: Server, worker: Worker) -> None:
    with server.client() as client:
        with answer_of(client, BATCH, {"items": [REQUEST] * 3}, "wait=15") as answers:
            until(lambda: len(client.get("/v1/jobs").json()["items"]) == 3)
            first, *others = (job["id"] for job in client.get("/v1/jobs").json()["items"])
            worker.finish(first)
            time.sleep(0.3)
            assert not answers
            worker.finish(*others)
        [answer] = answers
    assert answer.status_code == 200, answer.text
    assert answer.json()["counts"]["succeeded"] == 3
    assert len(answer.json()["job_ids"]) == 3


def test_a_batch_that_does_not_finish_during_the_wait_is_202(server: Server) -> None:
    with server.client() as client:
        answer = client.post(BATCH, json={"items": [REQUEST]}, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["counts"]["queued"]) == (202, 1)


def test_a_wait_is_limited_to_60_seconds(server: Server, worker: Worker) -> None:
    with server.client() as client:
        with answer_of(client, "/v1/generations", REQUEST, "respond-async, wait=3600") as answers:
            worker.finish(only_job(client)["id"])
        assert answers[0].headers["Preference-Applied"] == "wait=60"


@pytest.mark.parametrize(
    "prefer",
    ["wait", "wait=", "wait=-5", "wait=abc", "wait=1.5", "wait=0", "await=9", "wait=9999999999999", "return=minimal"],
)
def test_an_invalid_preference_is_ignored(as_user: TestClient, prefer: str) -> None:
    answer = as_user.post("/v1/generations", json=REQUEST, headers={"Prefer": prefer})
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers


def test_many_clients_can_wait_for_their_jobs_at_once(server: Server, worker: Worker) -> None:
    answers: list[httpx.Response] = []

    def wait(number: int) -> None:
        body = REQUEST | {"prompt": f"Page {number}"}
        answers.append(client.post("/v1/generations", json=body, headers={"Prefer": "wait=15"}))

    with server.client() as client:
        threads = [threading.Thread(target=wait, args=[number]) for number in range(50)]
        for thread in threads:
            thread.start()
        until(lambda: server.watcher.followers == 50)
        worker.finish(*(job["id"] for job in client.get("/v1/jobs?limit=100").json()["items"]))
        for thread in threads:
            thread.join()
    assert [answer.status_code for answer in answers] == [200] * 50
    assert len({answer.json()["id"] for answer in answers}) == 50
    assert {answer.json()["prompt"] for answer in answers} == {f"Page {number}" for number in range(50)}


def test_clients_continue_to_wait_while_the_database_fails(server: Server, database: Database, worker: Worker) -> None:
    with server.client() as client:
        job = submit(client)
        with client.stream("GET", f"/v1/jobs/{job['id']}/events") as events:
            lines = events.iter_lines()
            assert next(lines) == "event: job"
            rename(database, "jobs", "jobs_out_of_reach")
            assert client.get("/v1/jobs").status_code >= 500
            time.sleep(0.2)
            rename(database, "jobs_out_of_reach", "jobs")
            worker.finish(job["id"])
            assert any('"succeeded"' in line for line in lines)


def rename(database: Database, table: str, name: str) -> None:
    with database.write() as session:
        session.execute(text(f"ALTER TABLE {table} RENAME TO {name}"))
