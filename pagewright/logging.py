"""Log lines as JSON or text, with the job or request that they belong to."""

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

OWN_LOGGERS = ("api", "db", "models", "pagewright", "workers")
VERBOSE_LOGGERS = ("alembic", "celery", "ContinuousBatchingLogger", "httpx", "uvicorn")
"""Loggers of libraries that write a line for every message, token or request at INFO."""

_fields: ContextVar[dict[str, Any] | None] = ContextVar("fields", default=None)


@contextmanager
def log_fields(**fields: Any) -> Iterator[None]:
    """Add fields to every line that is logged in the block, also by libraries.

    A field that is None is left out. A thread that is started in the block does not inherit the fields.
    """
    token = _fields.set({**current_log_fields(), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def add_log_fields(**fields: Any) -> None:
    """Add fields to the later lines of the innermost `log_fields` block. Does nothing outside of a block."""
    current = _fields.get()
    if current is not None:
        current.update(fields)


def current_log_fields() -> dict[str, Any]:
    """Return the fields of the current block that are not None."""
    return {name: value for name, value in (_fields.get() or {}).items() if value is not None}


def configure_logging() -> None:
    """Log to standard error in the format and from the level of the settings, also uncaught exceptions and warnings.

    Does nothing if logging is configured already. LOG_LEVEL=DEBUG applies to Pagewright's own lines; libraries log from
    INFO on, because at DEBUG some of them log requests with the keys in them.
    """
    settings = get_settings()
    if logging.root.handlers:
        return
    logging.root.addHandler(make_handler(sys.stderr, settings))
    logging.root.setLevel(max(logging.getLevelNamesMapping()[settings.log_level], logging.INFO))
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(settings.log_level)
    for name in VERBOSE_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda raised: _log_uncaught(raised.exc_type, raised.exc_value, raised.exc_traceback)


def make_handler(stream: TextIO, settings: Settings) -> logging.Handler:
    """Return a handler that writes lines to `stream` in the format of the settings, with the fields of `log_fields`."""
    handler = logging.StreamHandler(stream)
    handler.addFilter(_add_fields)
    if settings.log_format == "text" or (settings.log_format == "auto" and stream.isatty()):
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s%(fields)s"))
        return handler
    json = JsonFormatter(
        ["levelname", "name", "process", "message"],
        rename_fields={"levelname": "level", "name": "logger", "process": "pid"},
        # `fields` belongs to the text format; `data` is Celery's and repeats its message
        reserved_attrs=[*RESERVED_ATTRS, "fields", "data"],
        timestamp="time",
    )
    handler.setFormatter(json)
    return handler


def adopt_libraries() -> None:
    """Let the root handler write the lines of libraries that print their own. Call it after their import."""
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
