import inspect
import logging

import pytest
from celery import Celery
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.message import Message
from kombu.transport import redis as kombu_redis
from uuid_utils.compat import uuid7

from pagewright.cli.up.parts import free_port
from tests.processes import start_redis
from workers.celery_app import app
from workers.redis_transport import Channel, Transport


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
        headers = {"task": "some", "job_id": str(uuid7())}
        connection.Producer().publish("here", routing_key="jobs", headers=headers)
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


@pytest.mark.parametrize("method", ["_connparams", "_get_client"])
def test_kombu_has_the_method_that_is_overridden(method: str) -> None:
    original = inspect.signature(getattr(kombu_redis.Channel, method))
    assert list(original.parameters) == list(inspect.signature(getattr(Channel, method)).parameters)


def test_kombus_own_transport_is_left_as_it_is() -> None:
    assert kombu_redis.Transport.Channel is kombu_redis.Channel


def test_the_application_uses_the_transport_with_its_options() -> None:
    with app.connection_for_write() as connection:
        assert isinstance(connection.transport, Transport)
        assert isinstance(connection.default_channel, Channel)
        parameters = connection.default_channel._connparams()
    assert (parameters["socket_timeout"], parameters["socket_connect_timeout"]) == (3, 2)
