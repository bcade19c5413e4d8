"""What a task's process prints becomes log lines that name its job."""

import json
import logging
import uuid
from io import StringIO
from pathlib import Path

import pytest

import logs
from db.lifecycle import Claim
from settings import Settings
from workers.lifecycle import Lease, about_jobs
from workers.task_process import ProcessCrashed, run_process


def test_what_the_process_prints_is_logged_for_its_job_once(tmp_path: Path) -> None:
    stream = StringIO()
    handler = logs.make_handler(stream, Settings(log_format="json"))
    logger = logging.getLogger("models.process")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    lease = Lease(Claim(uuid.uuid4(), 3), time_limit_seconds=60)
    specification = tmp_path / "specification.json"
    specification.write_text("none")
    try:
        for _ in range(2):  # as after an out-of-memory, in the same folder
            with about_jobs([lease]), pytest.raises(ProcessCrashed, match="JSONDecodeError"):
                run_process(specification, lease, lambda _: None, grace_seconds=0)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert sum("JSONDecodeError: " in line["message"] for line in lines) == 2
    assert {(line["job_id"], line["attempt"]) for line in lines} == {(str(lease.job_id), 3)}
