"""Server-sent events show a job and each of its changes."""

import json
import re
import threading
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

import fastapi.routing
import pytest

from api import queued_jobs, waiting
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


def test_the_stream_says_again_and_again_what_the_job_waits_for(
    server: Server, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "REPEAT_SECONDS", 0.2)
    monkeypatch.setattr(queued_jobs, "SHORT_WAIT", timedelta(seconds=0.1))
    with server.client() as client:
        job = submit(client)
        with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
            seen = events(stream.iter_lines())
            queued = next(state["waiting_for"] for state in seen if state["waiting_for"])
            assert queued.startswith("No live worker serves the queue")

            claims = worker.claim(job["id"])
            worker.set_loading(claims)
            loading = (state for state in seen if state["status"] == "running" and state["waiting_for"])
            reasons = {next(loading)["waiting_for"]}
            while len(reasons) < 3:
                reasons.add(next(loading)["waiting_for"])
            for reason in reasons:
                assert re.fullmatch(r"The model is loading, for \d+ s so far\.", reason)

            worker.set_loading(claims, loading=False)
            loaded = next(state for state in seen if not state["waiting_for"])
            assert loaded["status"] == "running"
            worker.succeed(claims)
            assert [state["status"] for state in seen] == ["succeeded"], "a job that runs is not sent again unchanged"


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
