"""Health and readiness. Neither check hangs: a test that waits forever fails by its timeout."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from db.vocabulary import QueueName
from pagewright.cli.up.parts import free_port
from workers import queue


def test_health_requires_no_key(app_client: TestClient) -> None:
    response = app_client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_ready_when_every_queue_has_a_worker(app_client: TestClient) -> None:
    waiting = app_client.get("/readyz")
    assert waiting.status_code == 503
    assert waiting.json() == {
        "ready": False,
        "database": True,
        "redis": True,
        "workers": {"generation": 0, "evaluation": 0, "pull": 0, "builds": 0},
    }
    queue.announce("a", list(QueueName))
    queue.announce("b", [QueueName.GENERATION])
    ready = app_client.get("/readyz")
    assert ready.status_code == 200
    workers = {"generation": 2, "evaluation": 1, "pull": 1, "builds": 1}
    assert ready.json() == {"ready": True, "database": True, "redis": True, "workers": workers}
    queue.withdraw("a", list(QueueName))
    assert app_client.get("/readyz").status_code == 503


def test_not_ready_without_redis(app_client: TestClient, redis_at: Callable[[int], None]) -> None:
    redis_at(free_port())
    response = app_client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {
        "ready": False,
        "database": True,
        "redis": False,
        "workers": {"generation": 0, "evaluation": 0, "pull": 0, "builds": 0},
    }


def test_not_ready_with_a_redis_that_hangs(
    app_client: TestClient, redis_at: Callable[[int], None], silent_port: int
) -> None:
    redis_at(silent_port)
    response = app_client.get("/readyz")
    assert (response.status_code, response.json()["redis"]) == (503, False)


@pytest.mark.parametrize("hangs", [False, True], ids=["down", "hangs"])
def test_not_ready_without_the_database(
    app_client: TestClient, configure: Callable[..., None], silent_port: int, hangs: bool
) -> None:
    port = silent_port if hangs else free_port()
    configure(database_url=f"postgresql://nobody@127.0.0.1:{port}/nothing")
    response = app_client.get("/readyz")
    assert response.status_code == 503
    assert (response.json()["database"], response.json()["redis"]) == (False, True)
    assert app_client.get("/healthz").status_code == 200
