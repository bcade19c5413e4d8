"""Celery's connection to Redis: kombu's Redis transport with one correction.

This is the only module that uses kombu's internals.

kombu 5.7.0 fails with an AttributeError instead of a connection error when a message is acknowledged on a connection
that has already been closed: `Channel._connparams` reads `self.connection.client`, and both are None by then. Celery
recovers from connection errors and ends the worker on any other. `tests/workers/test_redis_transport.py` shows when
kombu changes the overridden method, or no longer needs the correction.
"""

from ssl import CERT_REQUIRED
from typing import Any

from kombu.transport import redis
from redis.exceptions import ConnectionError


class Channel(redis.Channel):
    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """Return the parameters of a new connection. Raises ConnectionError if this connection has been closed."""
        if self.connection is None or self.connection.client is None:
            raise ConnectionError("the connection to Redis is closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous)
        return parameters


class Transport(redis.Transport):
    Channel = Channel


def broker_settings(redis_url: str) -> dict[str, Any]:
    """Return the Celery settings for a broker at a `redis://` or `rediss://` URL.

    kombu takes TLS from the URL's scheme only when it chooses the transport by that scheme too, so TLS is switched on
    here. The server's certificate is verified unless the URL's `ssl_*` parameters say otherwise, as redis-py does.
    """
    return {
        "broker_url": redis_url,
        "broker_transport": f"{__name__}:Transport",
        "broker_use_ssl": {"ssl_cert_reqs": CERT_REQUIRED} if redis_url.startswith("rediss:") else None,
    }
