"""The whole of the main job, seen from outside: start everything, submit over HTTP, poll, look at the pages."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import models.starter
from pagewright.cli.client import connect
from pagewright.cli.up import START_SECONDS, Readiness, free_port

OUTPUT = Path("demo-output")
JOB_SECONDS = 300
Row = dict[str, Any]


class DemoError(Exception):
    """Says which step failed, and how."""


def run(count: int) -> None:
    """Generate pages from the first `count` held-out prompts. Raises DemoError if any part of it fails."""
    console = Console()
    examples = _held_out(count)
    OUTPUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pagewright-demo-") as data_dir, running_server(data_dir) as client:
        submitted = [_submit(client, example) for example in examples]
        finished = _poll(client, [job["id"] for job in submitted], console)
    console.print(_table(examples, finished, prompt_width=max(20, console.width - 52)))
    for position, job in enumerate(finished, start=1):
        (OUTPUT / f"{position:02}.html").write_text(job["completion"])
    console.print(f"The pages are in {OUTPUT}/.")


def _held_out(count: int) -> list[Row]:
    file = models.starter.HELD_OUT
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    step = len(rows) // count
    return rows[::step][:count]  # spread over the kinds of task, which the file has in order


@contextmanager
def running_server(
    data_dir: str, role: str = "user", models_dir: Path | None = None, log: Path | None = None
) -> Iterator[httpx.Client]:
    """The embedded default on a free port over a data directory, stopped afterwards. The client has `role`.

    Local models are in `models_dir`, if it is given. What the server prints is added to the file `log`, which is made
    with its folder, or else is printed here. Raises DemoError if the server does not start, or ends badly.
    """
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PAGEWRIGHT_")}
    environment = {**inherited, "PAGEWRIGHT_DATA_DIR": data_dir, "PAGEWRIGHT_PORT": str(port)}
    if models_dir:
        environment["PAGEWRIGHT_MODELS_DIR"] = str(models_dir)
    command = [sys.executable, "-m", "pagewright"]
    address = f"http://127.0.0.1:{port}"
    with _opened(log) as output:
        up = subprocess.Popen([*command, "up"], env=environment, start_new_session=True, stdout=output, stderr=output)
    printed = f"its output is in {log}" if log else "its output is above"
    try:
        _wait_until_ready(up, Readiness(address), printed)
        create = [*command, "keys", "create", "demo", "--role", role]
        made = subprocess.run(create, env=environment, capture_output=True, text=True, check=False)
        if made.returncode:
            raise DemoError(f"`pagewright keys create` failed: {made.stderr}")
        with connect(address, made.stdout.strip()) as client:
            yield client
    finally:
        up.terminate()
        status = up.wait()
    if status:
        raise DemoError(f"`pagewright up` ended with status {status}; {printed}")


def _opened(log: Path | None) -> AbstractContextManager[BinaryIO | None]:
    if log is None:
        return nullcontext()
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("ab")
    except OSError as error:
        raise DemoError(f"{log} can't be written: {error.strerror}") from None


def _wait_until_ready(up: subprocess.Popen[bytes], readiness: Readiness, printed: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not readiness.ready():
        if up.poll() is not None:
            raise DemoError(f"`pagewright up` ended with status {up.returncode}; {printed}")
        if time.monotonic() > deadline:
            raise DemoError(f"not ready after {START_SECONDS} seconds: {readiness.last}")
        time.sleep(0.2)


def _submit(client: httpx.Client, example: Row) -> Row:
    body = {"model": "starter", "prompt": example["instruction"], "input": example["input"]}
    return _json(client.post("/v1/generations", json=body), 202)


def _poll(client: httpx.Client, job_ids: list[str], console: Console) -> list[Row]:
    finished: dict[str, Row] = {}
    deadline = time.monotonic() + JOB_SECONDS
    columns = (TextColumn("generating"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("generating", total=len(job_ids))
        while len(finished) < len(job_ids):
            for job_id in job_ids:
                if job_id in finished:
                    continue
                job = _json(client.get(f"/v1/generations/{job_id}"), 200)
                if job["status"] in ("failed", "cancelled"):
                    raise DemoError(f"generation {job_id} {job['status']}: {job['error']}")
                if job["status"] == "succeeded":
                    finished[job_id] = job
                    progress.update(task, completed=len(finished))
            if time.monotonic() > deadline:
                raise DemoError(f"{len(job_ids) - len(finished)} generations are not done after {JOB_SECONDS} seconds")
            time.sleep(0.1)
    return [finished[job_id] for job_id in job_ids]


def _json(response: httpx.Response, status: int) -> Row:
    if response.status_code != status:
        raise DemoError(f"{response.request.method} {response.request.url}: {response.status_code} {response.text}")
    body: Row = response.json()
    return body


def _table(examples: list[Row], finished: list[Row], prompt_width: int) -> Table:
    from models.scoring.metrics import exact_match, validity

    table = Table(title="Held-out prompts, greedy")
    table.add_column("prompt", no_wrap=True, overflow="ellipsis", max_width=prompt_width)
    for name in ("tokens", "seconds", "exact match", "valid HTML"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    exact = valid = 0
    for example, job in zip(examples, finished, strict=True):
        is_exact = exact_match(job["completion"], example["output"]) == 1
        is_valid = validity(job["completion"]) == 1
        exact, valid = exact + is_exact, valid + is_valid
        # From submit to result, waiting for a place in the batch included: what a client sees.
        seconds = _timestamp(job["finished_at"]) - _timestamp(job["created_at"])
        prompt = " ".join(example["instruction"].split())
        table.add_row(prompt, str(job["completion_tokens"]), f"{seconds:.2f}", _yes(is_exact), _yes(is_valid))
    table.add_section()
    total = sum(job["completion_tokens"] for job in finished)
    table.add_row("all", str(total), "", f"{exact}/{len(finished)}", f"{valid}/{len(finished)}")
    return table


def _timestamp(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _yes(value: bool) -> str:
    return "yes" if value else "no"
