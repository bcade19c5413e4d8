"""Scores completions in processes of their own: the engine's thread keeps the interpreter to itself, and a page that
crashes a parser takes none of the worker's jobs with it."""

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

__all__ = ["BrokenProcessPool", "score_apart"]

MAX_PROCESSES = 8

_executor: ProcessPoolExecutor | None = None
_lock = threading.Lock()


def score_apart(completion: str, reference: str, metrics: Collection[str]) -> "Future[Scores]":
    """The scores by `models.scoring.metrics.score`, computed in another process, which is started if there is none.

    Raises BrokenProcessPool, here or from the future, if a process died over these texts or others.
    """
    global _executor
    with _lock:
        if _executor is None:
            _executor = _start()
        try:
            return _executor.submit(_score, current_log_fields(), completion, reference, metrics)
        except BrokenProcessPool:
            _executor = None  # the next who asks gets a new one
            raise


def _score(fields: dict[str, Any], completion: str, reference: str, metrics: Collection[str]) -> Scores:
    with log_fields(**fields):
        return score(completion, reference, metrics)


def _start() -> ProcessPoolExecutor:
    processes = max(1, min(MAX_PROCESSES, (os.cpu_count() or 1) // 4))
    # not forked: a copy of a process with an engine's threads and a GPU does not run
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_live_with_parent)


def _live_with_parent() -> None:
    """End when the worker does, however it ends, and not before: it may be finishing jobs after a SIGTERM."""
    configure_logging()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
