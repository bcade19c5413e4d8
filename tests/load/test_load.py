"""Many clients, a full queue and a long history. `python -m benchmarks.load` measures the same."""

import re

import pytest

from benchmarks.history import costs_of_history
from benchmarks.load import Stage, full_queue, many_clients

pytestmark = pytest.mark.long


def test_many_clients_get_no_error() -> None:
    def over(stage: Stage) -> bool:
        return len(stage.submits) >= 3 * stage.clients and len(stage.polls) >= 3 * stage.clients

    found = many_clients([1, 16, 128], lambda: over)

    for stage in found.stages:
        assert set(stage.statuses) == {200, 202}, stage.statuses


def test_a_full_queue_refuses_the_next_job_and_says_when_to_try_again() -> None:
    found, accepted = full_queue(
        limit=300, clients=32, over=lambda stage: stage.statuses[429] >= 200 and stage.statuses[200] >= 16
    )

    assert accepted == 300
    assert set(found.statuses) == {200, 202, 429}, found.statuses
    assert found.retry_after
    assert all(seconds is not None and int(seconds) >= 1 for seconds in found.retry_after)


def test_no_frequent_query_reads_the_whole_history() -> None:
    stored = 30_000

    plans = costs_of_history([stored])[stored].plans

    assert {"claim", "poll"} <= plans.keys()
    conditions = [line for line in plans["list of generations, from the middle"] if "Index Cond" in line]
    assert len(conditions) == 2, "the newer jobs, or their generations, are read to find the place"
    for query, plan in plans.items():
        assert any("Index" in line for line in plan), (query, plan)
        read_whole = [line for line in plan if re.search(r"Seq Scan on (jobs|generations|predictions)\b", line)]
        assert not read_whole, (query, plan)
