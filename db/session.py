"""One `Database` per process: short transactions, on SQLite and PostgreSQL alike."""

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
"""What comes of a database that does not answer."""

_PATIENCE: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
}
"""libpq's own options. Without them a server that vanished from the network is waited for a quarter of an hour."""


class Database:
    """Transactions against one database.

    `read` and `write` differ for SQLite's sake alone: a writer takes the write lock when it begins, since a reader
    that turns writer cannot wait for its turn. Within a process writers queue on a lock of ours, which is fair and
    wakes at once, where SQLite's own polls.
    """

    def __init__(self, url: str) -> None:
        address = make_url(url)
        sqlite = address.get_backend_name() == "sqlite"
        options = {} if sqlite else {name: value for name, value in _PATIENCE.items() if name not in address.query}
        self.engine = create_engine(
            address,
            connect_args=options,
            pool_size=10,
            max_overflow=20,
            pool_pre_ping=not sqlite,
            hide_parameters=True,  # an error's text, which is logged, would hold prompts
        )
        self._writer: AbstractContextManager[Any] = threading.Lock() if sqlite else nullcontext()
        self._write_engine = self.engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        if sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session whose changes are never written."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that is committed at the end of the block, and rolled back if the block raises."""
        with self._writer, Session(self._write_engine, expire_on_commit=False) as session, session.begin():
            yield session


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself: _begin_sqlite does
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


def now(session: Session) -> datetime:
    """The database's clock: leases stay right on machines whose own clocks disagree."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    clock: datetime = session.scalars(select(func.clock_timestamp())).one()
    return clock.astimezone(UTC)


def serialize(session: Session, what: str) -> None:
    """Hold the lock named `what` until the transaction ends: others that ask for it wait.

    On SQLite a transaction that may write is alone anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(what, 0))))


@lru_cache
def get_database() -> Database:
    return Database(get_settings().database)
