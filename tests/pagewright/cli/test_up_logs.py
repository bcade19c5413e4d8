"""The log files of `pagewright up`."""

import io
from pathlib import Path

import pytest

from pagewright.cli.up import logs
from pagewright.cli.up.errors import UpError
from pagewright.cli.up.logs import PartLog, error_in
from tests.disk import files_no_larger_than

JSON_ERROR = b'{"level": "ERROR", "logger": "workers.x", "message": "it failed", "exc_info": "T\\nValueError: no"}\n'
TEXT_ERROR = b"2026-01-31 12:00:00,123 CRITICAL workers.x: it failed job_id=1\n"
NO_ERRORS = b'{"level": "WARNING", "message": "ERROR"}\n2026-01-31 12:00:00,123 INFO x: ERROR\n{no json\n\xff\n[1]\n'


def copy(log: PartLog, *lines: bytes) -> None:
    log.follow(io.BytesIO(b"".join(lines)))
    log.tail()  # waits for the end of the output


def test_all_lines_go_to_the_file_and_errors_to_the_terminal_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = PartLog(tmp_path / "logs", "build worker")
    copy(log, JSON_ERROR, NO_ERRORS, TEXT_ERROR)
    assert log.file == tmp_path / "logs" / "build-worker.log"
    assert len(log.file.read_text().splitlines()) == 7
    assert capsys.readouterr().err.splitlines() == [
        f"build worker: ERROR workers.x: it failed: ValueError: no (log: {log.file})",
        f"build worker: CRITICAL workers.x: it failed job_id=1 (log: {log.file})",
    ]


def test_the_tail_is_the_last_lines_of_all_output(tmp_path: Path) -> None:
    log = PartLog(tmp_path, "api")
    copy(log, *(f"{number}\n".encode() for number in range(100)))
    copy(log, b"the end")
    assert log.tail().splitlines() == [*map(str, range(86, 100)), "the end"]


def test_a_file_that_is_full_is_renamed_and_only_the_newest_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 1000)
    copy(PartLog(tmp_path, "api"), *(f"{number:099}\n".encode() for number in range(100)))
    files = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    assert sorted(files) == ["api.log", "api.log.1", "api.log.2"]
    assert max(files.values()) <= 1000
    assert (tmp_path / "api.log").read_text().endswith("99\n")


def test_a_full_disk_does_not_stop_the_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = PartLog(tmp_path, "api")
    with files_no_larger_than(1000):
        copy(log, *[b"x" * 99 + b"\n"] * 20, JSON_ERROR)
    assert log.file.stat().st_size <= 1000
    assert "it failed" in capsys.readouterr().err


def test_a_log_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    with pytest.raises(UpError, match="logs"):
        PartLog(tmp_path / "logs", "api")


@pytest.mark.parametrize("line", ['{"level": "ERROR"}', '{"level": "ERROR", "message": null, "exc_info": null}'])
def test_an_error_line_with_missing_fields_is_an_error(line: str) -> None:
    assert str(error_in(line)).startswith("ERROR")
