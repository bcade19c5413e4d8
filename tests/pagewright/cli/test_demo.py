import subprocess
from pathlib import Path

import pytest

from tests.processes import COMMAND, environment

pytestmark = pytest.mark.long


def test_the_demo_writes_pages_prints_a_table_and_ends_well(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*COMMAND, "demo", "--count", "4"],
        cwd=tmp_path,
        env=environment(),
        text=True,
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    pages = sorted((tmp_path / "demo-output").glob("*.html"))
    assert len(pages) == 4
    assert all("<html" in page.read_text() for page in pages)
    assert "exact match" in ended.stdout
