"""Jobs can be submitted without Redis. Without the database or disk space, the response is 503."""

import socket
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from db.session import Database
from pagewright.cli.up.parts import free_port
from pagewright.settings import get_settings
from tests.api.datasets.helpers import contents, post
from tests.api.helpers import REQUEST, problem, stored, submit, submit_batch
from tests.disk import files_no_larger_than
from workers import queue
from workers.celery_app import app as celery


@pytest.fixture
def redis_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue publishes to a port where nothing listens."""
    monkeypatch.setenv("CELERY_BROKER_WRITE_URL", f"redis://127.0.0.1:{free_port()}/0")
    monkeypatch.setattr(celery.amqp, "_producer_pool", None)
    monkeypatch.setattr(queue, "_paused_until", 0.0)


def test_jobs_can_be_submitted_while_redis_is_down(redis_down: None, as_user: TestClient, database: Database) -> None:
    job = submit(as_user)
    assert queue._paused_until > 0, "the message was sent: Redis was not down"
    submit_batch(as_user, 1000)
    assert stored(database) == (1001, 1001)
    assert as_user.get(f"/v1/jobs/{job['id']}").json()["status"] == "queued"


def test_an_unavailable_database_is_503(as_user: TestClient, configure: Callable[..., None]) -> None:
    configure(database_url=f"postgresql://nobody:pass-word@127.0.0.1:{free_port()}/nothing")
    for method, path in ("GET", "/v1/jobs"), ("POST", "/v1/generations"):
        response = as_user.request(method, path, json=REQUEST if method == "POST" else None)
        problem(response, 503, "unavailable")
        assert int(response.headers["Retry-After"]) > 0
        assert "pass-word" not in response.text


def test_a_database_that_accepts_connections_but_does_not_answer_is_503(
    as_user: TestClient, configure: Callable[..., None]
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        configure(database_url=f"postgresql://nobody:pass-word@127.0.0.1:{silent.getsockname()[1]}/nothing")
        problem(as_user.get("/v1/jobs"), 503, "unavailable")


@pytest.mark.parametrize("size", [900_000, 2_000_000], ids=["of the rows", "of the form, which leaves memory at 1 MiB"])
def test_an_upload_that_fills_the_disk_is_503_and_leaves_no_files(as_admin: TestClient, size: int) -> None:
    rows = [{"instruction": "Create a page.", "output": f"{number} {'page' * 250}"} for number in range(size // 1100)]
    with files_no_larger_than(600_000):
        response = post(as_admin, rows)
    problem(response, 503, "unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert list(get_settings().uploads.iterdir() if get_settings().uploads.exists() else []) == []
    assert contents() == []
    assert post(as_admin, rows).status_code == 201


def test_files_of_an_upload_whose_process_was_killed_are_removed(database: Database, as_admin: TestClient) -> None:
    (get_settings().uploads / "killed").mkdir(parents=True)
    with TestClient(create_app()):
        assert list(get_settings().uploads.iterdir()) == []
