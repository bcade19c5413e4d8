"""Scores completions in separate processes.

The interpreter's lock stays with the engine's thread, and a page that crashes a parser does not end the worker.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Collection
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from models.scoring.metrics import Scores, score
from pagewright.logging import configure_logging, current_log_fields, log_fields

MAX_PROCESSES = 8

_executor: ProcessPoolExecutor | None = None
_lock = threading.Lock()


def score_in_process(completion: str, reference: str, metrics: Collection[str]) -> "Future[Scores]":
    """Compute `models.scoring.metrics.score` in another process. The first call starts the processes.

    If one of the processes dies, all pending futures raise BrokenProcessPool. So may this call; the next call starts
    new processes.
    """
    global _executor
    with _lock:
        if _executor is None:
            _executor = _start()
        try:
            return _executor.submit(_score, current_log_fields(), completion, reference, metrics)
        except BrokenProcessPool:
            _executor = None
            raise


def _score(fields: dict[str, Any], completion: str, reference: str, metrics: Collection[str]) -> Scores:
    with log_fields(**fields):
        return score(completion, reference, metrics)


def _start() -> ProcessPoolExecutor:
    processes = max(1, min(MAX_PROCESSES, (os.cpu_count() or 1) // 4))
    # spawned, since a forked copy of a process with an engine's threads and a GPU does not work
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_live_with_parent)


def _live_with_parent() -> None:
    """End with the worker, however it ends. Signals are ignored: after SIGTERM the worker may still finish jobs."""
    configure_logging()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
