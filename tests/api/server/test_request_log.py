"""Each request has one log line, and an id that connects the lines logged during the request."""

import json
import logging
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis
from sqlalchemy.exc import IntegrityError

from api.server.request_log import RequestLog
from db.queries import generations
from pagewright.logging import make_handler
from pagewright.settings import Settings
from pagewright.telemetry import REQUEST_SECONDS, REQUESTS
from tests.api.helpers import REQUEST, submit, submit_batch
from workers import queue
from workers.celery_app import app

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(app_client: TestClient) -> Iterator[Lines]:
    """Returns the lines logged since the last call."""
    stream = StringIO()
    handler = make_handler(stream, Settings(log_format="json"))
    logger = logging.getLogger()
    logger.addHandler(handler)
    names = ("api", "workers")
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)

    def read() -> list[dict[str, Any]]:
        all_lines = [json.loads(line) for line in stream.getvalue().splitlines()]
        stream.seek(0)
        stream.truncate()
        return [line for line in all_lines if line["logger"].split(".")[0] in names]

    yield read
    logger.removeHandler(handler)
    for name in names:
        logging.getLogger(name).setLevel(logging.NOTSET)


def only(lines: Lines) -> dict[str, Any]:
    [line] = lines()
    return line


def test_a_request_is_logged_with_its_route_and_status(as_user: TestClient, lines: Lines) -> None:
    response = as_user.get("/v1/models?limit=3")
    line = only(lines)
    assert line["request_id"] == response.headers["X-Request-ID"]
    assert len(line["request_id"]) == 32
    assert (line["method"], line["route"], line["status"]) == ("GET", "/v1/models", 200)
    assert line["duration_seconds"] > 0
    assert line["level"] == "INFO"
    assert "job_id" not in line
    assert as_user.get("/v1/models").headers["X-Request-ID"] != line["request_id"]


def test_the_line_names_the_job_that_was_submitted_repeated_or_requested(as_user: TestClient, lines: Lines) -> None:
    job = submit(as_user)["id"]
    assert only(lines)["job_id"] == job
    for _ in range(2):
        again = as_user.post("/v1/generations", json=REQUEST, headers={"Idempotency-Key": "one"}).json()["id"]
        assert only(lines)["job_id"] == again
    as_user.head(f"/v1/generations/{job}")
    line = only(lines)
    assert (line["method"], line["route"], line["job_id"]) == ("HEAD", "/v1/generations/{job_id}", job)
    as_user.post(f"/v1/jobs/{job}/cancel")
    assert only(lines)["job_id"] == job
    batch = submit_batch(as_user, 2)["id"]
    assert only(lines)["batch_id"] == batch


def test_unknown_paths_and_invalid_ids_are_not_logged(as_user: TestClient, lines: Lines) -> None:
    for path in ("/pw_planted", "/v1/jobs/pw_planted", "/v1/jobs?pw_planted=1", "/v1/models/pw_planted/download"):
        as_user.get(path)
        line = only(lines)
        assert line["status"] in (404, 422)
        assert "planted" not in json.dumps(line)
    assert as_user.request("PLANTED", "/v1/models").status_code == 405
    assert only(lines)["method"] == "other"


def test_probes_are_logged_at_debug_level(app_client: TestClient, lines: Lines) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        app_client.get(path)
    assert {line["level"] for line in lines()} == {"DEBUG"}


def test_an_unexpected_error_is_logged_once_with_the_request_id_and_without_the_body(
    as_user: TestClient, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = generations.add

    def add_twice(*arguments: Any) -> None:
        add(*arguments)
        add(*arguments)

    monkeypatch.setattr(generations, "add", add_twice)
    response = as_user.post("/v1/generations", json=REQUEST | {"prompt": "the planted prompt"})
    assert response.status_code == 500
    fault, line = lines()
    assert fault["level"] == "ERROR"
    assert IntegrityError.__name__ in fault["exc_info"]
    assert "planted" not in fault["exc_info"]
    assert {fault["request_id"], line["request_id"]} == {response.headers["X-Request-ID"]}
    assert line["status"] == 500


def test_lines_of_other_modules_name_the_job(
    as_user: TestClient, lines: Lines, monkeypatch: pytest.MonkeyPatch, redis: Redis
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("planted")

    monkeypatch.setattr(app, "send_task", refuse)
    monkeypatch.setattr(queue, "_paused_until", 0.0)
    job = submit(as_user)["id"]
    warning, line = lines()
    assert "could not be published" in warning["message"]
    assert warning["job_id"] == line["job_id"] == job


def test_requests_are_counted_by_route_and_prolonged_ones_are_not_timed(as_user: TestClient) -> None:
    def counted(route: str) -> tuple[float, float]:
        timed = REQUEST_SECONDS.labels("GET", route)
        return (
            REQUESTS.labels("GET", route, 200)._value.get(),
            next(sample.value for sample in timed._samples() if sample.name == "_count"),
        )

    job = submit(as_user)["id"]
    as_user.post(f"/v1/jobs/{job}/cancel")
    before = counted("/v1/jobs/{job}"), counted("/v1/jobs/{job}/events")
    as_user.get(f"/v1/jobs/{job}")
    as_user.get(f"/v1/jobs/{job}", headers={"Prefer": "wait=1"})
    as_user.get(f"/v1/jobs/{job}/events")
    after = counted("/v1/jobs/{job}"), counted("/v1/jobs/{job}/events")
    assert [(b[0] - a[0], b[1] - a[1]) for a, b in zip(before, after, strict=True)] == [(2, 1), (1, 0)]


def test_a_stream_that_fails_does_not_look_complete(lines: Lines) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise OSError("the store is gone")

    with pytest.raises(OSError, match="the store is gone"):
        TestClient(RequestLog(broken)).get("/")
    assert [line["level"] for line in lines()] == ["ERROR", "INFO"]
