"""`pagewright demo`: start everything, generate pages over HTTP, and show how good they are."""

import json
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import models.starter
from pagewright.cli.local_server import LocalServerError, running_server

OUTPUT = Path("demo-output")
LOG = OUTPUT / "server.log"
LOG_TAIL_LINES = 20
JOBS_SECONDS = 3600
"""Time limit of all generations together; only a server that hangs reaches it."""

NUMERIC_COLUMNS = ("tokens", "seconds", "exact match", "valid HTML")
OTHER_WIDTH = 52
"""Width in characters of the table without its first column."""

Row = dict[str, Any]


class DemoError(Exception):
    """Names the step that failed, and the reason."""


def demo(
    count: Annotated[int, typer.Option(min=1, max=500, help="Number of held-out prompts.")] = 20,
) -> None:
    """Start a server, generate pages from held-out prompts over HTTP, and compare them with the references."""
    try:
        run(count)
    except (DemoError, LocalServerError) as error:
        typer.echo(f"pagewright demo: {error}", err=True)
        if LOG.is_file() and (lines := LOG.read_text(errors="replace").splitlines()):
            typer.echo("\n".join([f"The last lines of {LOG}:", *lines[-LOG_TAIL_LINES:]]), err=True)
        raise typer.Exit(1) from None


def run(count: int) -> None:
    """Generate pages from `count` held-out prompts. Raises DemoError or LocalServerError if any step fails."""
    console = Console()
    examples = _held_out(count)
    OUTPUT.mkdir(exist_ok=True)
    LOG.unlink(missing_ok=True)
    console.print(
        "This demo starts a server (Redis, SQLite, the API, two workers). The starter model then generates "
        f"{count} pages from prompts that it was not trained on, and the pages are compared with the expected ones. "
        "It takes one to two minutes "
        "if nothing else runs."
    )
    console.print(f"The server's log: {LOG}", highlight=False)
    with ExitStack() as stack:
        data_dir = stack.enter_context(tempfile.TemporaryDirectory(prefix="pagewright-demo-"))
        with console.status("Starting the server"):
            client = stack.enter_context(running_server(data_dir, log=LOG))
        console.print("The server is ready.")
        job_ids = [_submit(client, example)["id"] for example in examples]
        finished = _wait_for_all(client, job_ids, console)
    for position, job in enumerate(finished, start=1):
        (OUTPUT / f"{position:02}.html").write_text(job["page"])
    console.print(_table(examples, finished, prompt_width=max(20, console.width - OTHER_WIDTH)))
    console.print(_next_steps(), highlight=False, soft_wrap=True)


def _held_out(count: int) -> list[Row]:
    """Return `count` rows of the held-out file, spread over its kinds of task, which it has in order."""
    rows = [json.loads(line) for line in models.starter.HELD_OUT.read_text().splitlines()]
    step = len(rows) // count
    return rows[::step][:count]


def _submit(client: httpx.Client, example: Row) -> Row:
    body = {"model": "starter", "prompt": example["instruction"], "input": example["input"]}
    return _json(client.post("/v1/generations", json=body), 202)


def _wait_for_all(client: httpx.Client, job_ids: list[str], console: Console) -> list[Row]:
    """Poll until every generation has succeeded. Returns them in the order of `job_ids`."""
    finished: dict[str, Row] = {}
    deadline = time.monotonic() + JOBS_SECONDS
    columns = (TextColumn("Generating pages"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(job_ids))
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
                missing = len(job_ids) - len(finished)
                raise DemoError(f"{missing} of {len(job_ids)} generations have not ended after {JOBS_SECONDS} seconds")
            time.sleep(0.1)
    return [finished[job_id] for job_id in job_ids]


def _json(response: httpx.Response, status: int) -> Row:
    if response.status_code != status:
        raise DemoError(f"{response.request.method} {response.request.url}: {response.status_code} {response.text}")
    body: Row = response.json()
    return body


def _table(examples: list[Row], finished: list[Row], prompt_width: int) -> Table:
    from models.scoring.metrics import exact_match, validity

    table = Table(title="Held-out prompts, greedy decoding")
    table.add_column("prompt", no_wrap=True, overflow="ellipsis", max_width=prompt_width)
    for name in NUMERIC_COLUMNS:
        table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
    exact = valid = 0
    for example, job in zip(examples, finished, strict=True):
        is_exact = exact_match(job["page"], example["output"]) == 1
        is_valid = validity(job["page"]) == 1
        exact, valid = exact + is_exact, valid + is_valid
        # From submission to result, as the client measures it: the time in the queue is included.
        seconds = _timestamp(job["finished_at"]) - _timestamp(job["created_at"])
        prompt = " ".join(example["instruction"].split())
        table.add_row(prompt, str(job["completion_tokens"]), f"{seconds:.2f}", _yes(is_exact), _yes(is_valid))
    table.add_section()
    total = sum(job["completion_tokens"] for job in finished)
    table.add_row("all", str(total), "", f"{exact}/{len(finished)}", f"{valid}/{len(finished)}")
    return table


def _next_steps() -> str:
    return f"""\
The pages are in {OUTPUT}/; open {OUTPUT}/01.html in a browser.

Next:
  {_command()} up    starts a server that keeps its data, and prints an admin key and a first request
  README.md shows how to fine-tune, evaluate and quantize a model."""


def _command() -> str:
    """Return how to start this installation's `pagewright` from the current directory."""
    script = Path(sys.executable).parent / "pagewright"
    if script.is_file() and script.is_relative_to(Path.cwd()):
        return str(script.relative_to(Path.cwd()))
    return "pagewright"


def _timestamp(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _yes(value: bool) -> str:
    return "yes" if value else "no"
