"""redis-py and Celery read the URL of Redis in one way: both can connect, or neither."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis, RedisError

from pagewright.cli.up.parts import redis_server
from pagewright.redis_connection import checked_url, connect, connection_options, describe, without_secrets
from pagewright.settings import get_settings
from tests import tls
from tests.processes import answers, eventually
from workers.celery_app import app
from workers.redis_transport import broker_settings


def problems(url: str) -> tuple[str, str]:
    """Why redis-py can't use the URL, and why Celery can't; empty if they can."""
    by_redis = by_celery = ""
    try:
        connect(url).ping()
    except RedisError as error:
        by_redis = str(error)
    celery = Celery(set_as_current=False)
    celery.conf.update(broker_settings(url))
    try:
        with celery.connection_for_write() as connection:
            connection.default_channel.client.ping()
    except (OperationalError, RedisError) as error:
        by_celery = str(error)
    return by_redis, by_celery


@pytest.fixture
def redis_port() -> int:
    return int(connection_options(get_settings().redis_url)["port"])


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    tls.write_certificate(tmp_path / "redis.pem")
    return tmp_path / "redis.pem"


@pytest.fixture
def tls_port(redis_port: int, certificate: Path) -> Iterator[int]:
    with tls.served(redis_port, certificate) as port:
        yield port


def test_a_self_signed_certificate_is_refused_unless_it_is_named_or_unchecked(
    tls_port: int, certificate: Path, tmp_path: Path
) -> None:
    url = f"rediss://127.0.0.1:{tls_port}/0"
    for problem in problems(url):
        assert "certificate verify failed" in problem
    assert problems(f"{url}?ssl_ca_certs={certificate}") == ("", "")
    assert problems(f"{url}?ssl_cert_reqs=none&ssl_check_hostname=false") == ("", "")
    tls.write_certificate(tmp_path / "other.pem")
    for problem in problems(f"{url}?ssl_ca_certs={tmp_path / 'other.pem'}"):
        assert "certificate verify failed" in problem


def test_the_name_in_the_certificate_is_checked(tls_port: int, certificate: Path) -> None:
    url = f"rediss://localhost:{tls_port}/0?ssl_ca_certs={certificate}"
    for problem in problems(url):
        assert "certificate is not valid for 'localhost'" in problem
    assert problems(f"{url}&ssl_check_hostname=false") == ("", "")


def test_tls_without_a_server_that_speaks_it_does_not_connect(redis_port: int) -> None:
    assert all(problems(f"rediss://127.0.0.1:{redis_port}/0"))


def test_redis_at_a_unix_socket(tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    assert all(problems(f"unix://{socket}"))
    process = subprocess.Popen(
        [redis_server(), "--port", "0", "--unixsocket", str(socket), "--save", ""], stdout=subprocess.DEVNULL
    )
    try:
        eventually(lambda: answers(Redis(unix_socket_path=str(socket))), "Redis answers")
        assert problems(f"unix://{socket}") == ("", "")
        celery = Celery(set_as_current=False)
        celery.conf.update(broker_settings(f"unix://{socket}?db=3"))
        with celery.connection_for_write() as connection:
            connection.SimpleQueue("some").put("here")
        with Redis(unix_socket_path=str(socket), db=3) as client:
            assert client.llen("test:some") == 1
    finally:
        process.kill()
        process.wait()


def test_what_a_url_says_goes_before_the_defaults() -> None:
    options = connection_options("redis://me:p%40ss@redis.example:7000/2?socket_timeout=9")
    assert {
        "username": "me",
        "password": "p@ss",
        "host": "redis.example",
        "port": 7000,
        "db": 2,
    }.items() <= options.items()
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (9, 2)


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1",
        "redis://:p%40ss@redis.example:7000/2",
        "redis://[::1]:6379/0?health_check_interval=5",
        "rediss://u:p@redis.example/?ssl_cert_reqs=none",
        "unix:///run/redis.sock?db=1",
        "unix://user:pass@/run/redis.sock",
    ],
)
def test_urls_that_are_taken(url: str) -> None:
    assert checked_url(url) == url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://secret", "must be a redis://, rediss:// or unix:// URL"),
        ("secret:6379", "must be a redis://, rediss:// or unix:// URL"),
        ("redis://:secret#1@redis/0", "percent-encoded"),
        ("redis://redis:secret/0", "numbers as digits"),
        ("redis://redis/secret", "number of a database"),
        ("redis://redis/0/secret", "number of a database"),
        ("redis://redis/0?socket_timeout=secret", "numbers as digits"),
        ("redis://redis/0?ssl_foo=secret", "has a parameter that Redis connections don't have: 'ssl_foo'"),
        ("redis://redis/0?ssl_ca_certs=secret", "has a parameter that Redis connections don't have: 'ssl_ca_certs'"),
        ("rediss://redis/0?ssl_cert_reqs=sometimes", "sometimes"),
        ("unix://run/secret", "absolute path: unix:///path"),
        ("unix://", "absolute path: unix:///path"),
    ],
)
def test_urls_that_are_refused(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|has) ") as refused:
        checked_url(url)
    assert message in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_url_in_a_log_record_shows_no_password() -> None:
    assert without_secrets("rediss://me:secret@redis:7000/2?password=secret") == "rediss://redis:7000/2"
    assert without_secrets("unix://me:secret@/run/redis.sock?db=1") == "unix:/run/redis.sock"
    with app.connection_for_write("redis://me:secret@redis.example/1") as connection:
        assert connection.as_uri() == "redis://redis.example/1"


def test_the_description_of_an_error_says_whether_redis_has_answered(redis: Redis) -> None:
    with pytest.raises(RedisError) as refused:
        redis.execute_command("LPUSH", "only-a-key")
    assert describe(refused.value).startswith("Redis answers ERR: wrong number of arguments")
    pipeline = redis.pipeline().evalsha("0" * 40, 0)
    with pytest.raises(RedisError) as no_script:
        pipeline.execute()
    assert describe(no_script.value).startswith("Redis answers NOSCRIPT: No matching script")
    with pytest.raises(RedisError) as down:
        Redis(port=1).ping()
    assert describe(down.value).startswith("Redis does not answer: ")
