"""Several installations may share a Redis database, with each other and with other programs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import ConnectionError, Redis
from uuid_utils.compat import uuid7

import migrations
from db.session import Database
from db.vocabulary import JobKind
from pagewright.settings import get_settings
from workers import queue, redis_keys


@pytest.fixture
def other_installation(tmp_path: Path) -> Database:
    url = f"sqlite:///{tmp_path / 'other.sqlite3'}"
    migrations.upgrade(url)
    return Database(url)


def test_the_default_prefix_has_an_id_that_the_database_keeps(
    database: Database, other_installation: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_settings(), "redis_prefix", "")
    prefix = redis_keys.prefix()
    assert prefix == redis_keys.default_prefix(database) == redis_keys.default_prefix.__wrapped__(database)
    start, identifier, end = prefix.split(":")
    assert (start, len(identifier), end) == ("pagewright", 12, "")
    assert redis_keys.default_prefix(other_installation) != prefix


def test_the_setting_replaces_the_default_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_settings(), "redis_prefix", "mine/")
    assert redis_keys.key("generation") == "mine/generation"


def test_the_prefix_is_unknown_while_the_database_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_settings(), "redis_prefix", "")
    monkeypatch.setattr(redis_keys, "get_database", lambda: Database("postgresql+psycopg://user:secret@127.0.0.1:1/x"))
    with pytest.raises(ConnectionError, match="in the database, which does not answer"):
        redis_keys.prefix()


@pytest.fixture
def message(redis: Redis) -> bytes:
    """One as Celery sends it."""
    redis.flushdb()
    queue.publish(JobKind.GENERATION, [uuid7(), uuid7()])
    sent = redis.lindex("test:generation", 0)
    assert isinstance(sent, bytes)
    return sent


def test_a_message_of_pagewright_has_a_job_id(message: bytes) -> None:
    assert str(redis_keys.first_job_id(message)) == json.loads(message)["headers"]["job_id"]


FOREIGN: dict[str, Callable[[dict[str, object]], object]] = {
    "no object": lambda _: ["hello"],
    "a number": lambda _: 1,
    "an object without headers": lambda _: {"a": 1},
    "no body": lambda own: {**own, "body": None},
    "no job id": lambda own: {**own, "headers": {"task": "some.other"}},
    "an id that is none": lambda own: {**own, "headers": {"task": "generation", "job_id": "hello"}},
    "no delivery tag": lambda own: {**own, "properties": {}},
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_a_message_that_celery_could_not_read_is_foreign(
    message: bytes, foreign: Callable[[dict[str, object]], object]
) -> None:
    assert redis_keys.first_job_id(json.dumps(foreign(json.loads(message))).encode()) is None


def test_a_message_that_is_no_json_is_foreign() -> None:
    assert redis_keys.first_job_id(b"hello") is redis_keys.first_job_id(b"\xff\x00") is None


def test_the_newest_foreign_messages_are_kept_and_logged_cut_short(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis.flushdb()
    for number in range(redis_keys.KEPT_FOREIGN_MESSAGES + 1):
        redis_keys.set_aside("test:generation", b"%d %s" % (number, b"x" * 500))
    kept = [message.split()[0] for message in redis.lrange("test:foreign", 0, -1)]
    assert kept == [b"%d" % number for number in range(redis_keys.KEPT_FOREIGN_MESSAGES, 0, -1)]
    assert max(map(len, caplog.messages)) < 400
