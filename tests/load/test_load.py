"""The short form of `python -m benchmarks.load`."""

import re

from benchmarks.history import costs_of_history
from benchmarks.load import MIB, batch_seconds, evaluated, full_queue, many_clients
from models.scoring.names import Metric


def test_many_clients_get_no_error_and_leave_no_memory_behind() -> None:
    found = many_clients([1, 16, 128], seconds=4)

    for stage in found.stages:
        assert set(stage.statuses) == {200, 202}, stage.statuses
        assert stage.polls
        assert len(stage.submits) >= stage.clients
    for part, before in found.before.items():
        assert found.after[part] < 1.2 * before, (part, found.before, found.after)


def test_a_full_queue_refuses_the_next_and_says_when_to_come_back() -> None:
    found, accepted = full_queue(limit=300, clients=32, seconds=3)

    assert accepted == 300
    assert set(found.statuses) == {200, 202, 429}, found.statuses
    assert found.retry_after
    assert all(seconds is not None and int(seconds) >= 1 for seconds in found.retry_after)


def test_a_batch_of_ten_thousand_is_accepted_in_under_three_seconds() -> None:
    assert batch_seconds(10_000, until=3) < 3


def test_no_hot_query_reads_the_whole_history() -> None:
    stored = 30_000

    plans = costs_of_history([stored])[stored].plans

    assert {"claim", "poll"} <= plans.keys()
    conditions = [line for line in plans["list of generations, from the middle"] if "Index Cond" in line]
    assert len(conditions) == 2, "the newer jobs, or their generations, are read to find the place"
    for query, plan in plans.items():
        assert any("Index" in line for line in plan), (query, plan)
        read_whole = [line for line in plan if re.search(r"Seq Scan on (jobs|generations|predictions)\b", line)]
        assert not read_whole, (query, plan)


def test_an_evaluation_does_not_hold_its_rows_in_memory() -> None:
    few, many, characters = 2_500, 10_000, 10_000

    peaks = evaluated([few, many], characters, metrics=[Metric.EXACT_MATCH])

    # Held as Python's strings the references alone would take this much more; what there is, the allocator keeps.
    held = (many - few) * characters / MIB
    assert peaks[many] - peaks[few] < 0.6 * held
