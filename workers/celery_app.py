"""The Celery application.

Its settings follow from one decision: the database holds the jobs, and a message only says that a job exists. So a
message may be lost or delivered twice.
"""

from celery import Celery
from kombu.entity import Exchange, Queue

from db.vocabulary import QueueName
from pagewright.settings import get_settings
from workers.redis_transport import broker_settings

app = Celery("pagewright", set_as_current=True)
app.conf.update(
    **broker_settings(get_settings().redis_url),
    # The default exchange delivers a message directly to the queue that it names. A named exchange needs a binding in
    # Redis: after Redis has lost its data, messages would be dropped until a worker declared the binding again.
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
)
