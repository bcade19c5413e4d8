"""Retries while the database or the artifact store is down."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from db.session import UNREACHABLE

log = logging.getLogger(__name__)

T = TypeVar("T")

STORE_RETRY_SECONDS = 300.0
"""How long to retry storing a result while the database or the artifact store is down."""

MAX_PAUSE_SECONDS = 5.0


def retry_database(transaction: Callable[[], T], retry_seconds: float = STORE_RETRY_SECONDS) -> T:
    """Run a transaction, and run it again while the database can't be reached.

    A transaction can be committed although the database's answer is lost, and then runs twice. So it must store the
    same when it runs twice. One that ends a job does: the second time the attempt no longer holds the job. Raises the
    last error after `retry_seconds`. The job's lease then expires, and the reconciler queues the job again.
    """
    deadline = time.monotonic() + retry_seconds
    return retry(transaction, UNREACHABLE, "the database does not answer", lambda: time.monotonic() > deadline)


def retry(
    action: Callable[[], T], errors: tuple[type[Exception], ...], problem: str, should_stop: Callable[[], bool]
) -> T:
    """Run an action, and run it again while it raises one of `errors`. Raises the last one once `should_stop()`.

    Each failure is logged as the `problem`. The pause between two runs grows from 0.1 to 5 seconds.
    """
    pause = 0.1
    while True:
        try:
            return action()
        except errors as error:
            if should_stop():
                raise
            log.warning("%s, retrying: %s", problem, getattr(error, "strerror", None) or type(error).__name__)
            time.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)
