"""How every part connects to Redis. redis-py reads the URL for Celery too, so that TLS means the same to both."""

import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from redis import ConnectionPool, Redis, RedisError
from redis.backoff import NoBackoff
from redis.connection import Connection, UnixDomainSocketConnection, parse_url
from redis.exceptions import ClusterDownError, MasterDownError, ReadOnlyError, ResponseError
from redis.retry import Retry


def connection_options(url: str, *, seconds: float = 3.0) -> dict[str, Any]:
    """Return redis-py's options of a connection to the Redis at `url`, `connection_class` among them.

    Over `rediss://` the server's certificate and host name are checked, unless the URL's `ssl_*` parameters say
    otherwise. `seconds` is the time that Redis has to answer a command, unless the URL's `socket_timeout` is set.
    Raises ValueError if redis-py can't read the URL.
    """
    options: dict[str, Any] = {
        "connection_class": Connection,
        "socket_connect_timeout": min(2.0, seconds),
        "socket_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
        # Connections with these errors are closed: after a failover, the address may belong to another server.
        "retry_on_error": [ReadOnlyError, MasterDownError, ClusterDownError],
        **parse_url(url),
    }
    if options["connection_class"] is not UnixDomainSocketConnection:
        options.setdefault("socket_keepalive", True)
    return options


def connect(url: str, *, seconds: float = 3.0) -> Redis:
    """Return a client of the Redis at `url`, see `connection_options`. It connects when it is used."""
    return Redis(connection_pool=ConnectionPool(**connection_options(url, seconds=seconds)))


def checked_url(url: str) -> str:
    """Return the URL. Raises ValueError, whose message shows no password, if no connection can be opened with it."""
    try:
        parts = urlsplit(url)
        options = connection_options(url)
    except ValueError:
        raise ValueError(
            "must be a redis://, rediss:// or unix:// URL; write special characters of the password percent-encoded "
            "(%XX), and numbers as digits"
        ) from None
    if parts.scheme == "unix":
        if parts.hostname or not parts.path:
            raise ValueError("must name a socket by its absolute path: unix:///path, and unix:///path?db=1")
    elif not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError("must end with the number of a database, such as /0")
    connection_class = options.pop("connection_class")
    try:
        connection_class(**options)
    except TypeError as error:
        raise ValueError(f"has a parameter that Redis connections don't have: {str(error).split()[-1]}") from None
    except RedisError as error:
        raise ValueError(f"has a parameter with an invalid value: {error}") from None
    return url


def without_secrets(url: str) -> str:
    """Return the URL without user, password and parameters, for log records."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def describe(error: RedisError | OSError) -> str:
    """Say why Redis can't be used: the code and words of its answer, or that it does not answer."""
    code = getattr(error, "status_code", None)
    answers = f"answers {code}" if code else "answers" if isinstance(error, ResponseError) else "does not answer"
    words = " ".join(str(error).split()).rpartition(" of pipeline caused error: ")[2]  # redis-py names the command
    return f"Redis {answers}: {words.rstrip('.')}"
