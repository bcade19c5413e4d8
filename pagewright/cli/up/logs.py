"""The log files of the parts. Lines at ERROR and above are also printed to the terminal."""

import json
import logging
import re
import sys
import threading
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

from pagewright.cli.up.errors import UpError

MAX_BYTES = 20 * 1024 * 1024
OLD_FILES = 2
"""A file that reaches MAX_BYTES is renamed to `*.log.1`, and that one to `*.log.2`, which is then the oldest."""

ERROR_LEVELS = ("ERROR", "CRITICAL")
TAIL_LINES = 15


class PartLog:
    """Receives the output of one part, over all its restarts."""

    def __init__(self, folder: Path, name: str) -> None:
        """Open the log file of the part `name` in `folder`. Raises UpError if it can't be written."""
        self.file = folder / f"{name.replace(' ', '-')}.log"
        self._name = name
        self._thread: threading.Thread | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._handler = _File(self.file, maxBytes=MAX_BYTES, backupCount=OLD_FILES, encoding="utf-8")
        except OSError as error:
            raise UpError(f"the log file {self.file} can't be written: {error.strerror}") from None

    def follow(self, output: IO[bytes]) -> None:
        """Write the lines of `output` to the file until it is closed, in a thread."""
        self._thread = threading.Thread(target=self._copy, args=(output,), daemon=True)
        self._thread.start()

    def tail(self) -> str:
        """Return the last lines of the file, once all output of a part that ended is written."""
        if self._thread:
            self._thread.join(5)  # a process that the part started may keep the output open
        return "\n".join(self.file.read_text(errors="replace").splitlines()[-TAIL_LINES:])

    def _copy(self, output: IO[bytes]) -> None:
        for raw in output:
            line = raw.decode(errors="replace").rstrip("\n")
            self._handler.emit(logging.makeLogRecord({"msg": line}))
            if error := error_in(line):
                print(f"{self._name}: {error} (log: {self.file})", file=sys.stderr, flush=True)


class _File(RotatingFileHandler):
    """Drops what can't be written, for example on a full disk: logging must not stop the part."""

    def handleError(self, record: logging.LogRecord) -> None: ...


def error_in(line: str) -> str | None:
    """Return the level, logger and message of a log line at ERROR or above, in either LOG_FORMAT; else None."""
    if line.startswith("{"):
        try:
            entry = json.loads(line)
        except ValueError:
            return None
        if entry.get("level") not in ERROR_LEVELS:
            return None
        text = f"{entry['level']} {entry.get('logger')}: {entry.get('message')}"
        reason = str(entry.get("exc_info", "")).strip().rpartition("\n")[2]  # the exception ends its traceback
        return f"{text}: {reason}" if reason else text
    match = re.match(rf"\S+ \S+ ((?:{'|'.join(ERROR_LEVELS)}) .*)", line)
    return match[1] if match else None
