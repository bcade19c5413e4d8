"""The log lines of a build process, and the error when it crashes."""

import json
import logging
import uuid
from io import StringIO
from pathlib import Path

import pytest

from db.job_transitions import Claim
from pagewright.logging import make_handler
from pagewright.settings import Settings
from tests.disk import fill, small_disk
from workers.builds.process import ProcessCrashed, run_process
from workers.leases import Lease, job_log_fields


def run(folder: Path, lease: Lease | None = None) -> None:
    specification = folder / "specification.json"
    specification.write_text("{")
    run_process(specification, lease or Lease(Claim(uuid.uuid4(), 1), 60), lambda _: None, grace_seconds=0)


def test_each_line_that_the_process_prints_is_logged_once_with_the_job_id(tmp_path: Path) -> None:
    stream = StringIO()
    handler = make_handler(stream, Settings(log_format="json"))
    logger = logging.getLogger("models.tasks.process")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    lease = Lease(Claim(uuid.uuid4(), 3), time_limit_seconds=60)
    try:
        for _ in range(2):  # in the same folder, as after running out of memory
            with job_log_fields([lease]), pytest.raises(ProcessCrashed, match="JSONDecodeError"):
                run(tmp_path, lease)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert sum("JSONDecodeError: " in line["message"] for line in lines) == 2
    assert {(line["job_id"], line["attempt"]) for line in lines} == {(str(lease.job_id), 3)}


def test_the_error_of_a_crashed_process_has_the_last_line_it_printed(tmp_path: Path) -> None:
    with pytest.raises(ProcessCrashed, match="JSONDecodeError"):
        run(tmp_path)


def test_the_error_of_a_crashed_process_says_so_when_its_disk_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path, 2 * 1024 * 1024) as mounted:
        if not mounted:
            pytest.skip("no file system may be mounted here")
        (tmp_path / "specification.json").write_text(" " * 100)
        fill(tmp_path / "ballast")
        with pytest.raises(ProcessCrashed, match="the disk of its work folder is full"):
            run(tmp_path)
