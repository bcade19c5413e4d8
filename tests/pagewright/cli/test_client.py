from typing import Any

import pytest

from pagewright.cli.client import Job

JOB: dict[str, Any] = {
    "id": "1", "status": "queued", "attempt": 0, "error": None, "percent_done": None, "remaining_seconds": None,
    "started_at": None, "finished_at": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "queued"),
        ({"waiting_for": None}, "queued"),
        (
            {"waiting_for": "No live worker serves the queue `builds`."},
            "queued: No live worker serves the queue `builds`.",
        ),
        ({"status": "running", "attempt": 1}, "running"),
        ({"status": "running", "attempt": 2}, "running, attempt 2"),
        (
            {"status": "running", "attempt": 1, "waiting_for": "The model is loading, for 12 s so far."},
            "running: The model is loading, for 12 s so far.",
        ),
        ({"attempt": 2, "waiting_for": "1 earlier job."}, "queued, attempt 2: 1 earlier job."),
    ],
)
def test_the_state_names_the_attempt_and_what_the_job_waits_for(fields: dict[str, Any], state: str) -> None:
    assert Job(**JOB | fields).state == state
