import inspect
import logging
import socket
import threading
from ssl import CERT_NONE, CERT_REQUIRED
from typing import Any

import pytest
from celery import Celery
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError
from kombu.message import Message
from kombu.transport import redis as kombu_redis

from pagewright.cli.up.parts import free_port
from tests.processes import start_redis
from workers.celery_app import app
from workers.redis_transport import Channel, Transport, broker_settings


def acknowledge_after_redis_died(connection: Connection, port: int) -> None:
    """Receive a message, kill Redis, close the connection as Celery does when it is lost, and acknowledge the message.

    As in a worker, a second channel is open for remote control. kombu makes no mistake with a single channel.
    """
    received: list[Message] = []
    redis = start_redis(port)
    try:
        for name, channel in (("jobs", connection.default_channel), ("control", connection.channel())):
            queue = Queue(name, Exchange(""), routing_key=name)
            connection.Consumer([queue], channel, callbacks=[lambda _, message: received.append(message)]).consume()
        connection.Producer().publish("here", routing_key="jobs")
        while not received:
            connection.drain_events(timeout=5)
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.1)  # leaves a channel waiting for the next message
    finally:
        redis.kill()
        redis.wait()
    connection.collect()
    connection.close()
    received[0].ack_log_error(logging.getLogger("test"), connection.connection_errors)


def test_acknowledging_a_message_after_redis_died_is_a_connection_error(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    acknowledge_after_redis_died(app.connection_for_read(f"redis://127.0.0.1:{port}/0"), port)
    assert "Couldn't ack" in caplog.text


def test_kombu_still_needs_the_correction() -> None:
    port = free_port()
    uncorrected = Celery(broker=f"redis://127.0.0.1:{port}/0", set_as_current=False)
    with pytest.raises(AttributeError):
        acknowledge_after_redis_died(uncorrected.connection_for_read(), port)


def test_kombu_has_the_method_that_is_overridden() -> None:
    original = inspect.signature(kombu_redis.Channel._connparams)
    assert list(original.parameters) == list(inspect.signature(Channel._connparams).parameters)
    assert kombu_redis.Transport.Channel is kombu_redis.Channel, "kombu's own transport is left as it is"


def test_the_application_uses_the_transport_with_its_options() -> None:
    with app.connection_for_write() as connection:
        assert isinstance(connection.transport, Transport)
        assert isinstance(connection.default_channel, Channel)
        parameters = connection.default_channel._connparams()
    assert (parameters["socket_timeout"], parameters["socket_connect_timeout"]) == (3, 2)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://redis.example:7000/2", ("redis.example", 7000, "2", None, None, None)),
        ("redis://:p%40ss@redis.example", ("redis.example", None, "/", None, "p@ss", None)),
        ("rediss://u:p@redis.example/", ("redis.example", None, "/", "u", "p", {"ssl_cert_reqs": CERT_REQUIRED})),
        ("rediss://h/?ssl_cert_reqs=none", ("h", None, "/", None, None, {"ssl_cert_reqs": CERT_NONE})),
    ],
)
def test_a_broker_url_gives_address_credentials_and_tls(url: str, expected: tuple[Any, ...]) -> None:
    celery = Celery(set_as_current=False)
    celery.conf.update(broker_settings(url))
    broker = celery.connection_for_write()
    parts = (broker.hostname, broker.port, broker.virtual_host, broker.userid, broker.password, broker.ssl)
    assert parts == expected


def test_a_rediss_url_connects_by_tls() -> None:
    received: list[bytes] = []

    def accept() -> None:
        connection, _ = server.accept()
        with connection:
            server.close()  # later attempts to connect are refused
            received.append(connection.recv(2))

    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = threading.Thread(target=accept)
        accepting.start()
        celery = Celery(set_as_current=False)
        url = f"rediss://127.0.0.1:{server.getsockname()[1]}/0"
        celery.conf.update(broker_settings(url), broker_transport_options={"socket_timeout": 5})
        with celery.connection_for_write() as connection, pytest.raises(OperationalError):
            connection.ensure_connection(max_retries=1, interval_start=0)
        accepting.join()
    assert received == [b"\x16\x03"], "the start of a TLS handshake"
