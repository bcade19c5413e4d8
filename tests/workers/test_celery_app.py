import logging

import pytest
from kombu.entity import Exchange, Queue
from kombu.message import Message

from pagewright.cli.up import free_port
from tests.processes import start_redis
from workers.celery_app import app


def test_a_message_that_redis_died_over_raises_nothing_that_ends_a_worker(caplog: pytest.LogCaptureFixture) -> None:
    """A worker has two channels, one of them for commands; with one alone kombu makes no mistake."""
    received: list[Message] = []
    port = free_port()
    redis = start_redis(port)
    try:
        connection = app.connection_for_read(f"redis://127.0.0.1:{port}/0")
        for name, channel in (("news", connection.default_channel), ("commands", connection.channel())):
            queue = Queue(name, Exchange(""), routing_key=name)
            connection.Consumer([queue], channel, callbacks=[lambda _, message: received.append(message)]).consume()
        connection.Producer().publish("here", routing_key="news")
        while not received:
            connection.drain_events(timeout=5)
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.1)  # now it waits for another
    finally:
        redis.kill()
        redis.wait()
    # what Celery does when the connection is lost
    connection.collect()
    connection.close()
    received[0].ack_log_error(logging.getLogger("test"), connection.connection_errors)
    assert "Couldn't ack" in caplog.text
