"""When `pagewright up` starts a part again that has ended, and what it says."""

import os
import sys
from pathlib import Path

import pytest
from redis import Redis

from pagewright.cli.up.needs import find_missing
from pagewright.cli.up.parts import Part, free_port
from pagewright.cli.up.restarts import Restarts
from tests.processes import start_redis

REPLICA = "Redis answers READONLY: You can't write against a read only replica."


@pytest.fixture
def part() -> Part:
    """A part that ends at once."""
    built = Part("api", [sys.executable, "-c", "raise SystemExit(3)"], {}, 10)
    built.start()
    return built


def pauses(part: Part, restarts: Restarts, ends: int) -> list[float]:
    """Let the part end so many times, and return the pauses in seconds until it was started again."""
    measured, now = [], 0.0
    for _ in range(ends):
        ended = part.process
        assert ended is not None
        ended.wait()
        since = now
        while part.process is ended:
            restarts.step(now)
            now += 0.5
        now -= 0.5
        measured.append(now - since)
    assert part.process is not None
    part.process.wait()
    return measured


def test_the_pauses_grow_and_the_part_is_never_given_up(part: Part, capsys: pytest.CaptureFixture[str]) -> None:
    assert pauses(part, Restarts(part, lambda: None), 8) == [1, 2, 4, 8, 16, 30, 30, 30]
    assert len(capsys.readouterr().out.splitlines()) == 2, "the first end and the second"


def test_after_it_ran_for_a_while_the_pauses_start_again(part: Part, capsys: pytest.CaptureFixture[str]) -> None:
    restarts = Restarts(part, lambda: None)
    assert pauses(part, restarts, 3) == [1, 2, 4]
    fails, part.command = part.command, [sys.executable, "-c", "import time; time.sleep(1000)"]
    part.start()
    restarts.step(1000.0)
    part.command = fails
    part.kill()
    assert pauses(part, restarts, 2) == [1, 2]
    assert "The api runs again." in capsys.readouterr().out


def test_what_is_missing_is_said_once(part: Part, capsys: pytest.CaptureFixture[str]) -> None:
    pauses(part, Restarts(part, lambda: REPLICA), 6)
    assert capsys.readouterr().out.count(REPLICA) == 2, "at the first end and the second"


def test_a_redis_that_takes_no_writes_is_missing(tmp_path: Path) -> None:
    port = free_port()
    redis, database = f"redis://127.0.0.1:{port}/0", f"sqlite:///{tmp_path / 'some.sqlite3'}"
    assert "Redis does not answer: " in str(find_missing(redis, database))
    process = start_redis(port)
    try:
        assert find_missing(redis, database) is None
        with Redis(port=port) as client:
            client.replicaof("127.0.0.1", str(free_port()))
        assert find_missing(redis, database) == REPLICA
    finally:
        process.kill()
        process.wait()


def test_a_database_that_does_not_answer_is_missing() -> None:
    missing = find_missing(os.environ["PAGEWRIGHT_REDIS_URL"], "postgresql+psycopg://user:secret@127.0.0.1:1/x")
    assert "The database can't be used: " in str(missing)
    assert "secret" not in str(missing)
