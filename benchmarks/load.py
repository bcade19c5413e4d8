"""Measure many concurrent clients and a long history, on PostgreSQL, with an engine that answers immediately.

    python -m benchmarks.load [clients] [limit] [batch] [history] [rows]

clients: submissions and polls per second of 1, 64 and 512 clients, and the memory of each process before and after
limit:   refused submissions and poll latency while the queue is full
batch:   seconds until a batch of 10,000 generations is accepted
history: latency of a poll, a list, a page of predictions and a claim with 1,000, 100,000 and 1,000,000 stored jobs
rows:    memory of a worker that evaluates 100,000 rows
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
    """Values of the header in responses with the status 429."""

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
    result = asyncio.run(_stage(str(client.base_url), client.headers["Authorization"], clients, over))
    result.seconds = time.monotonic() - start
    return result


async def _stage(address: str, authorization: str, clients: int, over: Callable[[Stage], bool]) -> Stage:
    result = Stage(clients)
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    headers = {"Authorization": authorization}
    async with httpx.AsyncClient(base_url=address, headers=headers, limits=limits, timeout=60) as http:

        async def timed(latencies: list[float], method: str, path: str, body: object = None) -> httpx.Response:
            start = time.perf_counter()
            response = await http.request(method, path, json=body)
            latencies.append(time.perf_counter() - start)
            result.statuses[response.status_code] += 1
            return response

        async def run_client() -> None:
            while not over(result):
                response = await timed(result.submits, "POST", "/v1/generations", PROMPT)
                if response.status_code == 429:
                    result.retry_after.add(response.headers.get("Retry-After"))
                    await asyncio.sleep(0.1)
                    continue
                if response.status_code != 202:
                    continue
                path = response.headers["Location"]
                status = "queued"
                while status in ("queued", "running") and not over(result):
                    await asyncio.sleep(0.05)
                    response = await timed(result.polls, "GET", path)
                    status = response.json()["status"] if response.status_code == 200 else status

        await asyncio.gather(*(run_client() for _ in range(clients)))
    return result


def memory(stack: Stack) -> dict[str, float]:
    """Return the MiB in use by each part, including its child processes."""
    return {name: _memory(part.process.pid) for name, part in stack.parts.items() if part.process}


def _memory(pid: int) -> float:
    process = psutil.Process(pid)
    return float(sum(member.memory_info().rss for member in (process, *process.children(recursive=True)))) / MIB


@dataclass(frozen=True)
class ManyClients:
    stages: list[Stage]
    before: dict[str, float]
    after: dict[str, float]


def many_clients(counts: list[int], over: Callable[[], Callable[[Stage], bool]]) -> ManyClients:
    """Run stages with these numbers of clients after one that is not counted; `over` gives the end of each."""
    with serving() as stack, stack.client() as client, stack.running("worker", INSTANT_WORKER):
        stack.await_ready()
        # Warm-up: the first job loads modules and fills the pools of threads and connections.
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
        result = stage(client, clients, over)
        return result, ahead + result.statuses[202]


def batch_seconds(count: int) -> float:
    """Return how many seconds a batch of `count` generations takes to be accepted: the best of three."""
    with serving() as stack, stack.client() as client, stack.running("worker", INSTANT_WORKER):
        stack.await_ready()
        best = math.inf
        for _ in range(3):
            start = time.perf_counter()
            response = client.post("/v1/generations/batch", json={"items": [PROMPT] * count})
            best = min(best, time.perf_counter() - start)
            assert response.status_code == 202, response.text
            while client.get(response.headers["Location"]).json()["counts"].get("succeeded", 0) < count:
                time.sleep(0.2)
        return best


def evaluated(counts: list[int], characters: int, metrics: list[str]) -> dict[int, float]:
    """Return the peak memory in MiB of a new worker that evaluates `count` rows of `characters`, for each count."""
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
    created = client.post(
        "/v1/datasets",
        data={"name": f"rows-{count}", "test_fraction": "0.5"},
        files={"file": ("rows.jsonl", (rows * 2).encode())},
    )
    assert created.status_code == 201, created.text
    body = {"model": "starter", "dataset": f"rows-{count}", "split": "test", "max_new_tokens": 64, "metrics": metrics}
    job = client.post("/v1/evaluations", json=body)
    assert job.status_code == 202, job.text
    path = job.headers["Location"]
    _await(lambda: client.get(path).json()["status"] not in ("queued", "running"), 1.0)
    evaluation = client.get(path).json()
    assert (evaluation["status"], evaluation["rows_done"]) == ("succeeded", count), evaluation


@contextmanager
def _peak(pid: int) -> Iterator[list[float]]:
    """Yield a list with the peak memory of the process in MiB during the block, without its scoring processes."""
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


def _show_clients(result: ManyClients) -> None:
    table = Table(title="Concurrent clients")
    for column in ("clients", "submits/s", "relative to one", "p50 ms", "p99 ms", "polls/s", "p50 ms", "p99 ms", "5xx"):
        table.add_column(column, justify="right")
    first = len(result.stages[0].submits) / result.stages[0].seconds
    for stage in result.stages:
        rate = len(stage.submits) / stage.seconds
        table.add_row(
            str(stage.clients), f"{rate:.0f}", f"{rate / first:.2f}", *_milliseconds(stage.submits),
            f"{len(stage.polls) / stage.seconds:.0f}", *_milliseconds(stage.polls), str(stage.server_errors),
        )  # fmt: skip
    console.print(table)
    for name, before in result.before.items():
        after = result.after[name]
        console.print(f"{name}: {before:.0f} MiB before, {after:.0f} MiB after: {after / before:.2f}")


def _milliseconds(latencies: list[float]) -> tuple[str, str]:
    ordered = sorted(latencies)
    return f"{1000 * median(ordered):.1f}", f"{1000 * ordered[int(0.99 * len(ordered))]:.1f}"


def _show_history(by_size: dict[int, Costs]) -> None:
    base, *_ = by_size.values()
    table = Table(title="Median milliseconds by number of stored jobs (relative to the smallest number)")
    table.add_column("")
    for size in by_size:
        table.add_column(f"{size:,}", justify="right")
    for query in base.medians:
        cells = [(costs.medians[query], costs.medians[query] / base.medians[query]) for costs in by_size.values()]
        table.add_row(query, *(f"{1000 * seconds:.2f} ({ratio:.2f})" for seconds, ratio in cells))
    console.print(table)
    largest = by_size[max(by_size)]
    for query, plan in largest.plans.items():
        console.print(f"\n{query}", style="bold")
        console.print("\n".join(plan), highlight=False)


def main(
    parts: Annotated[list[str] | None, typer.Argument(help="Parts to run. Default: all five.")] = None,
    clients: Annotated[str, typer.Option(help="Numbers of clients, separated by commas.")] = "1,64,512",
    seconds: Annotated[float, typer.Option(help="Duration of each stage.")] = 20.0,
    jobs: Annotated[str, typer.Option(help="Numbers of stored jobs, separated by commas.")] = "1000,100000,1000000",
    rows: Annotated[str, typer.Option(help="Numbers of evaluated rows, separated by commas.")] = "10000,100000",
) -> None:
    """Run the benchmarks and print their results."""
    selected = parts or ["clients", "limit", "batch", "history", "rows"]
    if "clients" in selected:
        _show_clients(many_clients(_numbers(clients), lambda: lasting(seconds)))
    if "limit" in selected:
        queue, accepted = full_queue(limit=1000, clients=64, over=lasting(seconds))
        console.print(
            f"Full queue of 1,000: {accepted} accepted, {queue.statuses[429]} refused with Retry-After "
            f"{', '.join(map(str, queue.retry_after))}, {queue.server_errors} responses with status 5xx; "
            f"submit p50 and p99 {' and '.join(_milliseconds(queue.submits))} ms, "
            f"poll {' and '.join(_milliseconds(queue.polls))} ms"
        )
    if "batch" in selected:
        console.print(f"A batch of 10,000 generations is accepted in {batch_seconds(10_000):.2f} s")
    if "history" in selected:
        _show_history(costs_of_history(_numbers(jobs)))
    if "rows" in selected:
        for count, peak in evaluated(_numbers(rows), 500, list(Metric)).items():
            console.print(f"Evaluating {count:,} rows: peak memory of the worker {peak:.0f} MiB")


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
