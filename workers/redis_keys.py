"""This installation's keys in Redis, and the messages that are not its own.

Several installations may share a Redis database: each has a prefix for all its keys, queues included.
"""

import logging
import uuid
from functools import lru_cache

from pydantic import BaseModel, Field, ValidationError
from redis import ConnectionError, Redis

from db.queries.installation import installation_id
from db.session import UNREACHABLE, Database, get_database
from pagewright.redis_connection import connect
from pagewright.settings import get_settings

log = logging.getLogger(__name__)

KEPT_FOREIGN_MESSAGES = 100
_SHOWN_CHARACTERS = 200


def prefix() -> str:
    """Return the prefix of all keys: the setting, or the default.

    Raises redis-py's ConnectionError if the default has not been read yet and the database does not answer: callers
    then try again, as when Redis does not answer.
    """
    try:
        return get_settings().redis_prefix or default_prefix(get_database())
    except UNREACHABLE as error:
        raise ConnectionError("the prefix of its keys is in the database, which does not answer") from error


def key(name: str) -> str:
    """Return the key with this name. A queue's name is that of its list of messages."""
    return prefix() + name


def client() -> Redis:
    """Return the process's client of the Redis in the settings."""
    return _client_of(get_settings().redis_url)


@lru_cache
def default_prefix(database: Database) -> str:
    """Return `pagewright:`, the start of an id that the database keeps, and `:`."""
    with database.read() as session:
        return f"pagewright:{installation_id(session).hex[:12]}:"


@lru_cache
def _client_of(url: str) -> Redis:
    return connect(url)


class _Headers(BaseModel):
    task: str
    job_id: uuid.UUID


class _DeliveryInfo(BaseModel):
    exchange: str
    routing_key: str


class _Properties(BaseModel):
    delivery_tag: str
    delivery_info: _DeliveryInfo


class _Message(BaseModel):
    """What Celery and kombu read of a message without checking it."""

    body: str
    content_type: str = Field(alias="content-type")
    content_encoding: str = Field(alias="content-encoding")
    headers: _Headers
    properties: _Properties


def first_job_id(message: bytes) -> uuid.UUID | None:
    """Return the first job id of a message, or None if the message is not one that Pagewright sends."""
    try:
        return _Message.model_validate_json(message).headers.job_id
    except ValidationError:
        return None


def set_aside(queue: str, message: bytes) -> None:
    """Keep a message that some other program put on a queue, for whoever looks for its origin. Raises RedisError.

    The list `foreign` has the newest 100 of them.
    """
    text = message.decode(errors="replace")
    log.error(
        "a message on the queue %s is not one of Pagewright, and is set aside in the list %s of Redis: %s",
        queue,
        key("foreign"),
        text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…",
    )
    with client().pipeline() as pipeline:
        pipeline.lpush(key("foreign"), message)
        pipeline.ltrim(key("foreign"), 0, KEPT_FOREIGN_MESSAGES - 1)
        pipeline.execute()
