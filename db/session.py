"""Connections to the database, SQLite or PostgreSQL, and its transactions."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, create_engine, event, func, make_url, select
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from pagewright.settings import get_settings

UNREACHABLE = (OperationalError, InterfaceError, PoolTimeout)
"""The exceptions that mean that the database does not answer."""

_TIMEOUTS: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
}
"""Options of libpq. By default it waits about 15 minutes for a server that has vanished from the network."""


class Database:
    """Transactions in the database at `url`. A process has one, see `get_database`.

    On PostgreSQL `read` and `write` differ only in that `write` commits. On SQLite `write` also takes the write lock
    when the transaction starts: a transaction that reads first and then writes fails if another has written in
    between. The writers of a process wait for each other on a lock in Python, since SQLite's own lock is polled and is
    not fair.
    """

    def __init__(self, url: str) -> None:
        address = make_url(url)
        sqlite = address.get_backend_name() == "sqlite"
        options = {} if sqlite else {name: value for name, value in _TIMEOUTS.items() if name not in address.query}
        self.engine = create_engine(
            address,
            connect_args=options,
            pool_size=10,
            max_overflow=20,
            pool_pre_ping=not sqlite,
            hide_parameters=True,  # or error messages, which are logged, would contain prompts
        )
        self._writer: AbstractContextManager[Any] = threading.Lock() if sqlite else nullcontext()
        self._write_engine = self.engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        if sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for reading. Changes in it are rolled back."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session that is committed at the end of the block, or rolled back if the block raises."""
        with self._writer, Session(self._write_engine, expire_on_commit=False) as session, session.begin():
            yield session


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # _begin_sqlite starts the transactions, not the driver
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


def now(session: Session) -> datetime:
    """Return the time in UTC by the clock of the database server, since clocks of different machines may differ."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    clock: datetime = session.scalars(select(func.clock_timestamp())).one()
    return clock.astimezone(UTC)


def serialize(session: Session, name: str) -> None:
    """Take the lock with this name, and hold it until the transaction ends; transactions that want it wait.

    On SQLite this does nothing, since only one transaction that may write runs at a time.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


@lru_cache
def get_database() -> Database:
    """Return the process's database, at the URL in the settings."""
    return Database(get_settings().database)
