"""Server-sent events show a job and each of its changes."""

import json
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import fastapi.routing
import pytest

from tests.api.conftest import Server, Worker, until
from tests.api.helpers import submit


def events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_the_stream_shows_the_job_and_each_change_up_to_the_end(server: Server, worker: Worker) -> None:
    with server.client() as client:
        job = submit(client)
        with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
            assert stream.status_code == 200
            assert stream.headers["Content-Type"].startswith("text/event-stream")
            assert stream.headers["Cache-Control"] == "no-cache"
            seen = events(stream.iter_lines())
            first = next(seen)
            details = client.get(f"/v1/jobs/{job['id']}").json()
            assert first | {"events": []} == details
            claims = worker.claim(job["id"])
            assert next(seen)["status"] == "running"
            client.post(f"/v1/jobs/{job['id']}/cancel")
            cancelling = next(seen)
            assert (cancelling["status"], cancelling["cancel_requested"]) == ("running", True)
            worker.succeed(claims)
            assert next(seen)["status"] == "succeeded"
            assert list(seen) == []
    assert server.watcher.followers == 0


def test_the_stream_of_a_finished_job_shows_it_once(server: Server, worker: Worker) -> None:
    with server.client() as client:
        job = submit(client)
        worker.finish(job["id"])
        with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
            assert [state["status"] for state in events(stream.iter_lines())] == ["succeeded"]


def test_a_lost_connection_leaves_no_follower(server: Server) -> None:
    with server.client() as client:
        job = submit(client)
        for _ in range(3):
            with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
                lines = stream.iter_lines()
                next(lines)
                assert server.watcher.followers == 1
            until(lambda: server.watcher.followers == 0)


def test_every_follower_sees_the_job_end(server: Server, worker: Worker) -> None:
    ends: list[str] = []

    def follow() -> None:
        with server.client() as client, client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
            ends.append(list(events(stream.iter_lines()))[-1]["status"])

    with server.client() as client:
        job = submit(client)
    threads = [threading.Thread(target=follow) for _ in range(5)]
    for thread in threads:
        thread.start()
    until(lambda: server.watcher.followers == 5)
    worker.finish(job["id"])
    for thread in threads:
        thread.join()
    assert ends == ["succeeded"] * 5


def test_comments_keep_a_silent_stream_alive(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastapi.routing, "_PING_INTERVAL", 0.1)
    with server.client() as client:
        job = submit(client)
        with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
            assert any(line.startswith(":") for line in stream.iter_lines())
