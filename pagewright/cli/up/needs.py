"""What the parts need from outside: a Redis that takes writes, and a database that answers."""

from redis import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from db.session import Database
from pagewright.redis_connection import connect, describe
from workers.redis_keys import key

_ANSWER_SECONDS = 2.0


def find_missing(redis_url: str, database_url: str) -> str | None:
    """Return why Redis or the database can't be used at the moment, as a sentence; None if both can."""
    return _fault_of_database(database_url) or _fault_of_redis(redis_url)


def _fault_of_redis(url: str) -> str | None:
    try:
        with connect(url, seconds=_ANSWER_SECONDS) as client:
            client.set(key("probe"), "", px=1)  # a write: a replica, or a Redis without memory, still answers reads
    except (RedisError, OSError) as error:
        return f"{describe(error)}."
    return None


def _fault_of_database(url: str) -> str | None:
    engine = Database(url).engine
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        return f"The database can't be used: {_line(getattr(error, 'orig', None) or error)}."
    finally:
        engine.dispose()
    return None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
