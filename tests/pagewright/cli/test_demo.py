"""`pagewright demo`, with a real server and the starter model."""

import subprocess
from pathlib import Path

import pytest

from tests.disk import files_no_larger_than
from tests.processes import COMMAND, environment


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "demo", *arguments], cwd=folder, env=environment(), text=True, capture_output=True, check=False
    )


@pytest.mark.long
def test_the_demo_writes_pages_and_prints_a_table_without_log_lines(tmp_path: Path) -> None:
    ended = demo(tmp_path, "--count", "4")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    pages = sorted((tmp_path / "demo-output").glob("*.html"))
    assert len(pages) == 4
    assert all("<html" in page.read_text() for page in pages)
    assert "exact match" in ended.stdout
    assert "pagewright up" in ended.stdout
    assert ended.stderr == ""
    log = (tmp_path / "demo-output" / "server.log").read_text()
    assert "POST /v1/generations" in log
    assert "POST /v1/generations" not in ended.stdout


def test_a_demo_that_fails_shows_the_end_of_the_servers_log(tmp_path: Path) -> None:
    with files_no_larger_than(20_000):  # too small for the database
        ended = demo(tmp_path)
    assert ended.returncode == 1
    assert "`pagewright up` ended with status 1" in ended.stderr
    assert "The last lines of demo-output/server.log:" in ended.stderr
    assert "the database can't be used" in ended.stderr
    assert "Traceback" not in ended.stderr
