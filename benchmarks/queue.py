"""Measure durable jobs per second, from submission over HTTP to the stored result, compared with bare Celery.

All parts of Pagewright run: API and worker processes, PostgreSQL, Redis. Only the engine is replaced by one that
answers immediately. Bare Celery uses the same Redis and the same kind of thread pool. Its tasks do nothing and store
nothing.

    python -m benchmarks.queue
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Annotated

import httpx
import typer
from celery import Celery
from kombu.entity import Exchange, Queue
from redis import Redis
from rich.console import Console
from rich.table import Table

from benchmarks.serving import INSTANT_WORKER, PROMPT, serving

BARE_QUEUE = "bare"
CLIENTS = 8


def bare_celery() -> Celery:
    app = Celery("bare", broker=os.environ["PAGEWRIGHT_REDIS_URL"])
    app.conf.update(
        task_ignore_result=True,
        worker_disable_prefetch=True,
        task_queues=[Queue(BARE_QUEUE, Exchange(""), routing_key=BARE_QUEUE)],
    )

    @app.task(name="nothing")
    def nothing(number: int) -> None:
        pass

    @app.task(name="done")
    def done() -> None:
        Redis.from_url(os.environ["PAGEWRIGHT_REDIS_URL"]).set("bare:done", 1)

    return app


def main(
    jobs: Annotated[int, typer.Option(help="Number of jobs in the batch, and of bare Celery tasks.")] = 10_000,
    singles: Annotated[int, typer.Option(help="Number of jobs that are submitted one by one.")] = 2_000,
    rounds: Annotated[int, typer.Option(help="Number of rounds. The best is printed.")] = 3,
    worker: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    if worker == "bare":
        arguments = ["worker", "-P", "threads", "-c", "64", "-Q", BARE_QUEUE, "-l", "ERROR"]
        bare_celery().worker_main([*arguments, "--without-gossip", "--without-mingle", "--without-heartbeat"])
        return

    with serving() as stack, stack.client() as client:
        os.environ.update(stack.environment)
        with stack.running("bare", [sys.executable, "-m", "benchmarks.queue", "--worker", "bare"]):
            bare = max(_bare(jobs) for _ in range(rounds))
        with stack.running("worker", INSTANT_WORKER):
            stack.await_ready()
            # Warm-up: the first job loads modules.
            client.post("/v1/generations", json=PROMPT, headers={"Prefer": "wait=60"}).raise_for_status()
            latencies = _idle_latencies(client, 100)
            batch = max(_batch(client, jobs) for _ in range(rounds))
            single = max(_singles(client, singles) for _ in range(rounds))

    table = Table(title=f"Durable jobs per second, submission to stored result (PostgreSQL, {os.cpu_count()} cores)")
    for column in ("", "jobs/s", "relative to bare Celery"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row(f"bare Celery, {jobs} empty tasks", f"{bare:.0f}", "1.00")
    table.add_row(f"Pagewright, a batch of {jobs}", f"{batch:.0f}", f"{batch / bare:.2f}")
    table.add_row(
        f"Pagewright, {singles} single submissions by {CLIENTS} clients", f"{single:.0f}", f"{single / bare:.2f}"
    )
    console = Console(width=110)
    console.print(table)
    console.print(
        f"Submission to claim on an idle server: median {1000 * median(latencies):.1f} ms, "
        f"95th percentile {1000 * sorted(latencies)[int(0.95 * len(latencies))]:.1f} ms (n = {len(latencies)})"
    )


def _bare(count: int) -> float:
    """Return tasks per second, from sending the first to finishing the last."""
    app = bare_celery()
    redis = Redis.from_url(os.environ["PAGEWRIGHT_REDIS_URL"])

    def wait_for_done() -> None:
        while not redis.delete("bare:done"):
            time.sleep(0.005)

    app.send_task("done", queue=BARE_QUEUE)
    wait_for_done()  # the worker has started
    start = time.perf_counter()
    with app.producer_or_acquire(None) as producer:
        for number in range(count):
            app.send_task("nothing", args=[number], queue=BARE_QUEUE, producer=producer)
        app.send_task("done", queue=BARE_QUEUE, producer=producer)
    wait_for_done()
    return count / (time.perf_counter() - start)


def _batch(client: httpx.Client, count: int) -> float:
    start = time.perf_counter()
    response = client.post("/v1/generations/batch", json={"items": [PROMPT] * count}, headers={"Prefer": "wait=60"})
    response.raise_for_status()
    location = response.headers["Location"]
    while response.json()["counts"]["succeeded"] < count:
        time.sleep(0.05)
        response = client.get(location)
    return count / (time.perf_counter() - start)


def _singles(client: httpx.Client, count: int) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        ids = list(clients.map(lambda _: client.post("/v1/generations", json=PROMPT).json()["id"], range(count)))
    newest = max(ids)
    while client.get(f"/v1/jobs/{newest}").json()["status"] != "succeeded":
        time.sleep(0.01)
    while client.get("/v1/jobs", params={"status": "queued"}).json()["items"]:
        time.sleep(0.01)
    return count / (time.perf_counter() - start)


def _idle_latencies(client: httpx.Client, count: int) -> list[float]:
    """Return the seconds from a job's creation to its claim, by the database's clock."""
    from datetime import datetime

    seconds = []
    for _ in range(count):
        job = client.post("/v1/generations", json=PROMPT, headers={"Prefer": "wait=60"}).json()
        seconds.append(
            (datetime.fromisoformat(job["started_at"]) - datetime.fromisoformat(job["created_at"])).total_seconds()
        )
        time.sleep(0.02)
    return seconds


if __name__ == "__main__":
    typer.run(main)
