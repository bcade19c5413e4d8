"""Every accepted job comes to one right result, whatever fails meanwhile. `python -m benchmarks.faults` is longer."""

import os
from pathlib import Path

import pytest

from tests.faults.run import SHORT, run

pytestmark = [pytest.mark.long, pytest.mark.timeout(7200)]

SEED = int(os.environ.get("FAULTS_SEED", "7"))


def test_no_job_is_lost_doubled_stuck_or_wrong_whatever_fails(tmp_path: Path) -> None:
    report = run(tmp_path / "run", SHORT, SEED, print)
    assert not report.problems, "\n".join(report.problems)
