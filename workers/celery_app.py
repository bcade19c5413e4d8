"""The Celery application: settings that follow from the database being the truth and messages only news."""

from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.transport import redis
from redis.exceptions import ConnectionError

from db.vocabulary import QueueName
from pagewright.settings import get_settings


class Channel(redis.Channel):
    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """What a connection that is closed already can't say is a failure to connect.

        An acknowledgement asks it, of a message that was taken before Redis fell silent. It was an AttributeError
        (kombu 5.7), and Celery ended the worker for it; connection errors it outlives.
        """
        if self.connection is None or self.connection.client is None:
            raise ConnectionError("the connection is closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous)
        return parameters


redis.Transport.Channel = Channel

app = Celery("pagewright", broker=get_settings().redis_url, set_as_current=True)
app.conf.update(
    # The nameless exchange puts a message straight on its queue; a named one needs a binding in Redis, and a Redis
    # that came back empty would drop every message until some worker declared it anew.
    task_queues=[Queue(name, Exchange(""), routing_key=name) for name in QueueName],
    task_create_missing_queues=False,
    task_ignore_result=True,
    task_acks_late=False,
    task_serializer="json",
    accept_content=["json"],
    worker_disable_prefetch=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "max_retries": 0,  # of a publish: a submit must not wait for a Redis that is down; consumers go on trying
        "socket_connect_timeout": 2,
        "socket_timeout": 3,  # above the second that a consumer's BRPOP waits, and what a submit can bear
        "socket_keepalive": True,
    },
)
