"""What `pagewright up` checks and creates before it starts the parts."""

import errno
import fcntl
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DatabaseError

import migrations
from db.queries import api_keys, models
from db.session import Database
from db.vocabulary import Role
from pagewright.cli.up.errors import UpError
from pagewright.settings import Settings


@contextmanager
def locked_data_dir(directory: Path) -> Iterator[None]:
    """Create the data directory, and lock it against a second `pagewright up`. Raises UpError if that fails."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "models").mkdir(exist_ok=True)
        lock = (directory / "up.lock").open("w")
    except OSError as error:
        raise UpError(f"the data directory {directory} can't be used: {error}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UpError(f"another `pagewright up` is using {directory}") from None
        yield


def prepare_database(settings: Settings) -> str | None:
    """Migrate the database and register the bundled models.

    Returns a new admin key if the database has no API key yet, else None. Raises UpError if the database can't be used.
    """
    try:
        migrations.upgrade(settings.database)
        with Database(settings.database).write() as session:
            models.ensure_bundled(session)
            if api_keys.any_exists(session):
                return None
            return api_keys.create(session, "admin, created by `pagewright up`", Role.ADMIN)[1]
    except DatabaseError as error:
        raise UpError(f"the database can't be used: {error.orig}") from None


def check_port(host: str, port: int) -> None:
    """Raise UpError if the API could not listen on this address."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                reason = f"port {port} of {host} is in use: choose another with --port or PAGEWRIGHT_PORT"
            elif error.errno == errno.EACCES:
                reason = f"this user may not use port {port}: choose one from 1024 with --port or PAGEWRIGHT_PORT"
            else:
                reason = f"{host} is not an address of this machine: choose one with --host or PAGEWRIGHT_HOST"
            raise UpError(f"the API can't listen on {host}:{port}: {reason} ({error.strerror})") from None
