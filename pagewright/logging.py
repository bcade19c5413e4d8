"""Log lines: JSON for machines, text for a terminal, each saying on whose behalf it was written."""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from pagewright.settings import Settings, get_settings

OURS = ("api", "db", "models", "pagewright", "workers")
QUIET = ("alembic", "celery", "ContinuousBatchingLogger", "httpx", "uvicorn")
"""At INFO these tell of every message, token or request."""

_fields: ContextVar[dict[str, Any] | None] = ContextVar("fields", default=None)


@contextmanager
def log_fields(**fields: Any) -> Iterator[None]:
    """Every line that is written in the block, by whatever library, has these fields too.

    A thread that is started in the block begins without them.
    """
    token = _fields.set({**current_log_fields(), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def add_log_fields(**fields: Any) -> None:
    """Add fields to the innermost block of `log_fields`, for its later lines. Outside of a block it does nothing."""
    noted = _fields.get()
    if noted is not None:
        noted.update(fields)


def current_log_fields() -> dict[str, Any]:
    """The fields of a line that is written now; one that was set to None is none."""
    return {name: value for name, value in (_fields.get() or {}).items() if value is not None}


def configure_logging() -> None:
    """Have this process log to standard error as the settings say; does nothing where logging is set up already.

    The level is that of our own lines. A library's are shown from INFO on, whatever it says: at DEBUG some write
    down their requests, with the keys that are in them.
    """
    settings = get_settings()
    if logging.root.handlers:
        return
    logging.root.addHandler(make_handler(sys.stderr, settings))
    logging.root.setLevel(max(logging.getLevelNamesMapping()[settings.log_level], logging.INFO))
    for name in OURS:
        logging.getLogger(name).setLevel(settings.log_level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda raised: _log_uncaught(raised.exc_type, raised.exc_value, raised.exc_traceback)


def make_handler(stream: TextIO, settings: Settings) -> logging.Handler:
    """What writes lines as the settings say to `stream`, with the fields that hold where each is written."""
    handler = logging.StreamHandler(stream)
    handler.addFilter(_add_fields)
    if settings.log_format == "text" or (settings.log_format == "auto" and stream.isatty()):
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s%(fields)s"))
        return handler
    json = JsonFormatter(
        ["levelname", "name", "process", "message"],
        rename_fields={"levelname": "level", "name": "logger", "process": "pid"},
        # `fields` is the text's, and `data` is what Celery adds to a line that says it all already
        reserved_attrs=[*RESERVED_ATTRS, "fields", "data"],
        timestamp="time",
    )
    handler.setFormatter(json)
    return handler


def adopt_libraries() -> None:
    """Have libraries that print their lines themselves leave that to us. Call it when they are imported."""
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and any(type(it) is logging.StreamHandler for it in logger.handlers):
            logger.handlers = [it for it in logger.handlers if type(it) is not logging.StreamHandler]
            logger.propagate = True


def _add_fields(record: logging.LogRecord) -> bool:
    fields = current_log_fields()
    for name, value in fields.items():
        record.__dict__.setdefault(name, value)
    record.fields = "".join(f" {name}={value}" for name, value in fields.items())
    return True


def _log_uncaught(kind: type[BaseException], error: BaseException | None, traceback: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error or kind(), traceback)
        return
    logging.getLogger(__name__).critical("uncaught", exc_info=(kind, error or kind(), traceback))
