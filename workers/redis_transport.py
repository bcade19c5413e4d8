"""Celery's connection to Redis: kombu's Redis transport, with five corrections.

This is the only module that uses kombu's internals. `tests/workers/test_redis_transport.py` shows when kombu changes
the overridden methods, or no longer needs a correction.

- redis-py reads the URL, here as everywhere. kombu reads TLS parameters in its own way, and knows no `unix://`.
- Errors that Redis answers with are connection errors. Celery recovers from connection errors and ends the worker on
  any other, but a failover (READONLY, MASTERDOWN, CLUSTERDOWN) or full memory (OOM) is over after a while.
- Redis counts as connected only when it takes a write. Celery pauses between attempts to connect, but starts its
  consumer over and over, without a pause, when Redis answers and then refuses to register the consumer's queues.
- Messages of other programs are set aside. Celery ends the worker when it can't read a message.
- Acknowledging a message on a connection that has already been closed is a connection error. kombu 5.7.0 fails with an
  AttributeError: `Channel._connparams` reads `self.connection.client`, and both are None by then.
"""

from functools import partial
from typing import Any

from kombu.transport import redis
from redis.exceptions import ConnectionError, ResponseError

from pagewright.redis_connection import connection_options, without_secrets
from workers import redis_keys


class Client(redis.PrefixedStrictRedis):
    def ping(self, **options: Any) -> Any:
        """Raise RedisError also if Redis takes no writes. A channel uses a ping to check a new connection."""
        self.set("probe", "", px=1)
        return super().ping(**options)

    def parse_response(self, connection: Any, command_name: str, **options: Any) -> Any:
        """Return Redis' answer; that no message has come, if one has come that is not Pagewright's."""
        answer = super().parse_response(connection, command_name, **options)
        if command_name == "BRPOP" and answer and redis_keys.first_job_id(answer[1]) is None:
            redis_keys.set_aside(answer[0].decode(errors="replace"), answer[1])
            return None
        return answer


class Channel(redis.Channel):
    @property
    def global_keyprefix(self) -> str:  # type: ignore[override]
        return redis_keys.prefix()

    def _get_client(self) -> Any:
        return partial(Client, global_keyprefix=self.global_keyprefix)

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """Return the parameters of a new connection. Raises ConnectionError if this connection has been closed."""
        if self.connection is None or self.connection.client is None:
            raise ConnectionError("the connection to Redis is closed")
        options = connection_options(self.connection.client.hostname)  # the URL, since the transport parses URLs
        self.connection_class = options["connection_class"]  # kombu makes a subclass of it that its event loop needs
        kombus = super()._connparams(asynchronous)
        return {
            **options,
            "db": options.get("db", 0),
            "connection_class": kombus["connection_class"],
            "health_check_interval": kombus["health_check_interval"],
        }


class Transport(redis.Transport):
    Channel = Channel
    can_parse_url = True
    connection_errors = (*redis.Transport.connection_errors, ResponseError)

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """Return the URL for log records."""
        return without_secrets(uri)


def broker_settings(redis_url: str) -> dict[str, Any]:
    """Return the Celery settings for a broker at a `redis://`, `rediss://` or `unix://` URL."""
    return {
        "broker_url": redis_url.replace(";", "%3B"),  # to Celery, a semicolon separates several URLs
        "broker_transport": f"{__name__}:Transport",
        # For publishing: a request must not wait while Redis is down. Consumers retry forever.
        "broker_transport_options": {"max_retries": 0},
    }
