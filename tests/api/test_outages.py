"""Without Redis jobs are taken all the same; without the database the answer is 503, soon."""

import time
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from cli.up import free_port
from db.session import Database
from tests.api.helpers import ASKED, problem, stored, submit, submit_batch
from workers import queue
from workers.app import app as celery


@pytest.fixture
def redis_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue's messages go to a port where nobody listens."""
    monkeypatch.setenv("CELERY_BROKER_WRITE_URL", f"redis://127.0.0.1:{free_port()}/0")
    monkeypatch.setattr(celery.amqp, "_producer_pool", None)
    monkeypatch.setattr(queue, "_broken_until", 0.0)


def test_a_job_is_taken_while_redis_is_down(redis_down: None, as_user: TestClient, database: Database) -> None:
    start = time.monotonic()
    job = submit(as_user)
    assert queue._broken_until > 0, "the message was sent: Redis was not down"
    submit_batch(as_user, 1000)
    assert time.monotonic() - start < 3
    assert stored(database) == (1001, 1001)
    assert as_user.get(f"/v1/jobs/{job['id']}").json()["status"] == "queued"


def test_without_the_database_the_answer_is_503_soon(as_user: TestClient, configure: Callable[..., None]) -> None:
    configure(database_url=f"postgresql://nobody:pass-word@127.0.0.1:{free_port()}/nothing")
    for method, path in ("GET", "/v1/jobs"), ("POST", "/v1/generations"):
        start = time.monotonic()
        response = as_user.request(method, path, json=ASKED if method == "POST" else None)
        assert time.monotonic() - start < 5
        problem(response, 503, "unavailable")
        assert int(response.headers["Retry-After"]) > 0
        assert "pass-word" not in response.text
