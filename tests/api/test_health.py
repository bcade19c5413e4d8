"""Health and readiness. Neither check hangs: a test that waits forever fails by its timeout."""

import socket
from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from db.vocabulary import QueueName
from pagewright.cli.up.parts import free_port
from pagewright.settings import get_settings
from workers import queue


@pytest.fixture
def silent_port() -> Iterator[int]:
    """The port of a server that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def redis_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Makes the queue connect to Redis at another port."""

    def move(port: int) -> None:
        url = f"redis://127.0.0.1:{port}/0"
        monkeypatch.setattr(get_settings(), "redis_url", url)
        queue._redis.cache_clear()

    yield move
    queue._redis.cache_clear()


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
