"""What many clients at once and a long history cost, on PostgreSQL, with an engine that answers at once.

    python -m benchmarks.load [clients] [limit] [batch] [history] [rows]

clients: submissions and polls per second by 1, 64 and 512 clients, with the memory of each process before and after.
limit:   a full queue: who is refused, and what a poll takes meanwhile.
batch:   how long 10,000 generations take to be accepted.
history: what a poll, a list, a page of predictions and a claim take with 1,000, 100,000 and 1,000,000 stored jobs.
rows:    the memory of a worker that evaluates 100,000 rows.
"""

import asyncio
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Annotated

import httpx
import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.history import Costs, costs_of_history
from benchmarks.serving import INSTANT_WORKER, PROMPT, Stack, serving
from models.scoring.names import Metric

MIB = 2**20
console = Console(width=120)


@dataclass
class Stage:
    """What a number of clients saw in a number of seconds. Latencies are in seconds."""

    clients: int
    seconds: float = 0.0
    submits: list[float] = field(default_factory=list)
    polls: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    retry_after: set[str | None] = field(default_factory=set)
    """Of the answers 429."""

    @property
    def server_errors(self) -> int:
        return sum(count for status, count in self.statuses.items() if status >= 500)


def lasting(seconds: float) -> Callable[[Stage], bool]:
    """Return a condition that ends a stage after this many seconds."""
    end = time.monotonic() + seconds
    return lambda _: time.monotonic() >= end


def stage(client: httpx.Client, clients: int, over: Callable[[Stage], bool]) -> Stage:
    """Run clients, each with its own connection, until `over`: each submits a generation, polls it and starts again."""
    start = time.monotonic()
    found = asyncio.run(_stage(str(client.base_url), client.headers["Authorization"], clients, over))
    found.seconds = time.monotonic() - start
    return found


async def _stage(address: str, authorization: str, clients: int, over: Callable[[Stage], bool]) -> Stage:
    found = Stage(clients)
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    headers = {"Authorization": authorization}
    async with httpx.AsyncClient(base_url=address, headers=headers, limits=limits, timeout=60) as http:

        async def timed(latencies: list[float], method: str, path: str, body: object = None) -> httpx.Response:
            begin = time.perf_counter()
            response = await http.request(method, path, json=body)
            latencies.append(time.perf_counter() - begin)
            found.statuses[response.status_code] += 1
            return response

        async def one() -> None:
            while not over(found):
                response = await timed(found.submits, "POST", "/v1/generations", PROMPT)
                if response.status_code == 429:
                    found.retry_after.add(response.headers.get("Retry-After"))
                    await asyncio.sleep(0.1)
                    continue
                if response.status_code != 202:
                    continue
                path = response.headers["Location"]
                status = "queued"
                while status in ("queued", "running") and not over(found):
                    await asyncio.sleep(0.05)
                    response = await timed(found.polls, "GET", path)
                    status = response.json()["status"] if response.status_code == 200 else status

        await asyncio.gather(*(one() for _ in range(clients)))
    return found


def memory(stack: Stack) -> dict[str, float]:
    """MiB in use by each part, with its child processes."""
    return {name: _memory(part.process.pid) for name, part in stack.parts.items() if part.process}


def _memory(pid: int) -> float:
    process = psutil.Process(pid)
    return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))) / MIB


@dataclass(frozen=True)
class ManyClients:
    stages: list[Stage]
    before: dict[str, float]
    after: dict[str, float]


def many_clients(counts: list[int], over: Callable[[], Callable[[Stage], bool]]) -> ManyClients:
    """Run stages with these numbers of clients after one that is not counted; `over` gives the end of each."""
    with serving() as stack, stack.client() as client, stack.running("worker", INSTANT_WORKER):
        stack.await_ready()
        # What is loaded with the first job is there after this, and pools of threads and connections have their size.
        client.post("/v1/generations", json=PROMPT, headers={"Prefer": "wait=60"}).raise_for_status()
        stage(client, counts[-1], over())
        before = memory(stack)
        stages = [stage(client, count, over()) for count in counts]
        return ManyClients(stages, before, memory(stack))


def full_queue(limit: int, clients: int, over: Callable[[Stage], bool]) -> tuple[Stage, int]:
    """Let clients submit to a queue with room for half of them and no worker; return also the number of accepted jobs.

    A client that is accepted polls from then on, and the others try again.
    """
    with serving(max_queued_per_key=limit) as stack, stack.client() as client:
        ahead = limit - clients // 2
        client.post("/v1/generations/batch", json={"items": [PROMPT] * ahead}).raise_for_status()
        found = stage(client, clients, over)
        return found, ahead + found.statuses[202]


def batch_seconds(count: int) -> float:
    """Return how many seconds a batch of `count` generations takes to be accepted: the best of three."""
    with serving() as stack, stack.client() as client, stack.running("worker", INSTANT_WORKER):
        stack.await_ready()
        best = math.inf
        for _ in range(3):
            begin = time.perf_counter()
            response = client.post("/v1/generations/batch", json={"items": [PROMPT] * count})
            best = min(best, time.perf_counter() - begin)
            assert response.status_code == 202, response.text
            while client.get(response.headers["Location"]).json()["counts"].get("succeeded", 0) < count:
                time.sleep(0.2)
        return best


def evaluated(counts: list[int], characters: int, metrics: list[str]) -> dict[int, float]:
    """The most memory in MiB of a worker that evaluates so many rows of so many characters; a new one for each."""
    peaks = {}
    with serving() as stack, stack.client() as client:
        for count in counts:
            with stack.running("worker", INSTANT_WORKER) as worker:
                stack.await_ready()
                assert worker.process is not None
                with _peak(worker.process.pid) as peak:
                    _evaluate(client, count, characters, metrics)
                peaks[count] = peak[0]
    return peaks


def _evaluate(client: httpx.Client, count: int, characters: int, metrics: list[str]) -> None:
    reference = "<!DOCTYPE html><title>One</title><p>" + "text " * (characters // 5)
    rows = "".join(
        json.dumps({"instruction": f"Page {number}.", "output": f"{reference}{number}"}) + "\n"
        for number in range(count)
    )
    made = client.post(
        "/v1/datasets",
        data={"name": f"rows-{count}", "test_fraction": "0.5"},
        files={"file": ("rows.jsonl", (rows * 2).encode())},
    )
    assert made.status_code == 201, made.text
    asked = {"model": "starter", "dataset": f"rows-{count}", "split": "test", "max_new_tokens": 64, "metrics": metrics}
    job = client.post("/v1/evaluations", json=asked)
    assert job.status_code == 202, job.text
    path = job.headers["Location"]
    _await(lambda: client.get(path).json()["status"] not in ("queued", "running"), 1.0)
    found = client.get(path).json()
    assert (found["status"], found["rows_done"]) == ("succeeded", count), found


@contextmanager
def _peak(pid: int) -> Iterator[list[float]]:
    """The highest memory of the process itself during the block, in MiB: those that score are apart."""
    peak, over = [0.0], threading.Event()

    def watch() -> None:
        process = psutil.Process(pid)
        while not over.wait(0.1):
            peak[0] = max(peak[0], process.memory_info().rss / MIB)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def _await(condition: Callable[[], bool], seconds: float = 0.2) -> None:
    while not condition():
        time.sleep(seconds)


def _show_clients(found: ManyClients) -> None:
    table = Table(title="Many clients at once")
    for column in ("clients", "submits/s", "of one client", "p50 ms", "p99 ms", "polls/s", "p50 ms", "p99 ms", "5xx"):
        table.add_column(column, justify="right")
    first = len(found.stages[0].submits) / found.stages[0].seconds
    for one in found.stages:
        rate = len(one.submits) / one.seconds
        table.add_row(
            str(one.clients), f"{rate:.0f}", f"{rate / first:.2f}", *_milliseconds(one.submits),
            f"{len(one.polls) / one.seconds:.0f}", *_milliseconds(one.polls), str(one.server_errors),
        )  # fmt: skip
    console.print(table)
    for name, before in found.before.items():
        after = found.after[name]
        console.print(f"{name}: {before:.0f} MiB before, {after:.0f} MiB after: {after / before:.2f}")


def _milliseconds(latencies: list[float]) -> tuple[str, str]:
    ordered = sorted(latencies)
    return f"{1000 * median(ordered):.1f}", f"{1000 * ordered[int(0.99 * len(ordered))]:.1f}"


def _show_history(found: dict[int, Costs]) -> None:
    base, *_ = found.values()
    table = Table(title="Median milliseconds by stored jobs, and of the fewest")
    table.add_column("")
    for size in found:
        table.add_column(f"{size:,}", justify="right")
    for query in base.medians:
        cells = [(costs.medians[query], costs.medians[query] / base.medians[query]) for costs in found.values()]
        table.add_row(query, *(f"{1000 * seconds:.2f} ({ratio:.2f})" for seconds, ratio in cells))
    console.print(table)
    largest = found[max(found)]
    for query, plan in largest.plans.items():
        console.print(f"\n{query}", style="bold")
        console.print("\n".join(plan), highlight=False)


def main(
    parts: Annotated[list[str] | None, typer.Argument(help="Some of the five; all if none is named.")] = None,
    clients: Annotated[str, typer.Option(help="Divided by commas.")] = "1,64,512",
    seconds: Annotated[float, typer.Option(help="Of each stage.")] = 20.0,
    jobs: Annotated[str, typer.Option(help="Sizes of the history.")] = "1000,100000,1000000",
    rows: Annotated[str, typer.Option(help="Rows of the evaluations.")] = "10000,100000",
) -> None:
    """Measure and print."""
    wanted = parts or ["clients", "limit", "batch", "history", "rows"]
    if "clients" in wanted:
        _show_clients(many_clients(_numbers(clients), lambda: lasting(seconds)))
    if "limit" in wanted:
        found, accepted = full_queue(limit=1000, clients=64, over=lasting(seconds))
        console.print(
            f"Full queue of 1,000: {accepted} accepted, {found.statuses[429]} refused with Retry-After "
            f"{', '.join(map(str, found.retry_after))}, {found.server_errors} errors of the server; "
            f"submit p50 and p99 {' and '.join(_milliseconds(found.submits))} ms, "
            f"poll {' and '.join(_milliseconds(found.polls))} ms"
        )
    if "batch" in wanted:
        console.print(f"A batch of 10,000 is accepted in {batch_seconds(10_000):.2f} s")
    if "history" in wanted:
        _show_history(costs_of_history(_numbers(jobs)))
    if "rows" in wanted:
        for count, peak in evaluated(_numbers(rows), 500, list(Metric)).items():
            console.print(f"Evaluating {count:,} rows: the worker needs {peak:.0f} MiB at most")


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
