"""The format of log lines, and the fields that name their job or request."""

import json
import logging
import subprocess
import sys
from io import StringIO
from typing import Any

import pytest

from pagewright.logging import configure_logging, make_handler
from pagewright.settings import Settings
from tests.processes import environment


def run(code: str, **settings: object) -> str:
    """Run the code in a process that has configured logging, and return its standard error."""
    imports = "from pagewright.logging import add_log_fields, adopt_libraries, configure_logging, log_fields"
    program = f"import logging, threading, warnings\n{imports}\nconfigure_logging()\n{code}"
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, env=environment(**settings), text=True, capture_output=True, check=False)
    return ended.stderr


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_json_line_has_the_fields_of_the_blocks_around_it() -> None:
    [first, second, third] = lines(
        run("""
log = logging.getLogger("workers.x")
with log_fields(job_id="j", attempt=2):
    log.info("page %d", 1)
    with log_fields(attempt=None, job_ids=["a", "b"]):
        add_log_fields(later=True)
        log.warning("two\\nlines")
log.info("outside", extra={"status": 200})
""")
    )
    assert first.pop("time").endswith("+00:00")
    assert first.pop("pid") > 0
    assert first == {"level": "INFO", "logger": "workers.x", "message": "page 1", "job_id": "j", "attempt": 2}
    assert (second["message"], second["job_ids"], second["later"]) == ("two\nlines", ["a", "b"], True)
    assert "attempt" not in second
    assert (third["status"], "job_id" in third) == (200, False)


def test_a_text_line_has_the_same_fields() -> None:
    code = 'with log_fields(job_id="j", attempt=2): logging.getLogger("api").info("hello")'
    assert run(code, log_format="text").endswith("INFO api: hello job_id=j attempt=2\n")


def test_uncaught_exceptions_and_warnings_are_logged() -> None:
    logged = lines(
        run("""
warnings.warn("old")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise ValueError("the end")
""")
    )
    assert [line["level"] for line in logged] == ["WARNING", "CRITICAL", "CRITICAL"]
    assert "old" in logged[0]["message"]
    assert "ZeroDivisionError" in logged[1]["exc_info"]
    assert "ValueError: the end" in logged[2]["exc_info"]


def test_debug_applies_to_pagewrights_own_lines_only() -> None:
    code = 'for name in ("api", "httpcore", "botocore.auth"): logging.getLogger(name).debug("%s", name)'
    assert [line["message"] for line in lines(run(code, log_level="DEBUG"))] == ["api"]


def test_lines_of_libraries_with_their_own_handlers_are_written_by_the_root_handler() -> None:
    code = """
import transformers, huggingface_hub
adopt_libraries()
with log_fields(job_id="j"):
    logging.getLogger("transformers.generation").warning("one")
    logging.getLogger("huggingface_hub.file_download").warning("two")
"""
    assert [(line["message"], line["job_id"]) for line in lines(run(code))] == [("one", "j"), ("two", "j")]


def test_a_message_that_is_not_a_string_or_not_valid_in_json_is_written() -> None:
    stream = StringIO()
    handler = make_handler(stream, Settings(log_format="json"))
    for message in ({"a": 1}, b"\xff", "\x00\ud800"):
        handler.handle(logging.LogRecord("x", logging.INFO, "", 1, message, (), None))
    assert len(lines(stream.getvalue())) == 3


def test_logging_that_is_configured_already_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "handlers", [logging.NullHandler()])
    hook = sys.excepthook
    configure_logging()
    assert len(logging.root.handlers) == 1
    assert sys.excepthook is hook
