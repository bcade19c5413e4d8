"""`pagewright warm`: make a worker of a server load a model before the first job needs it."""

import re
import time
from enum import StrEnum
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.text import Text

from pagewright.cli.client import Job, ServerError, connect, get, send, submit
from pagewright.settings import get_settings

POLL_SECONDS = 0.5
NOT_LOADED, INTERRUPTED = 1, 130
"""Exit statuses. Typer uses 2 for wrong options."""

PROMPT = "Warm up."


class Load(StrEnum):
    """Load options as the command line writes them."""

    IN_4_BITS = "4bit"
    IN_8_BITS = "8bit"

    @property
    def options(self) -> dict[str, Any]:
        """The load options of a request."""
        return {"method": "bitsandbytes", "bits": int(self.value.removesuffix("bit"))}


def warm(
    model: Annotated[str, typer.Argument(help="The name or id of a registered model.")],
    load: Annotated[
        Load | None,
        typer.Option(help="Quantize the weights by bitsandbytes while they are loaded. Default: as they are stored."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="The server's address. Default: PAGEWRIGHT_SERVER_URL.")] = None,
) -> None:
    """Make a worker load a model, and wait until it is loaded.

    The command submits a generation of one token, for which a worker must
    load the model. If several inference workers run, one of them does.
    The model stays loaded until its memory is needed for another one.

    PAGEWRIGHT_API_KEY is the API key.

    Exit status: 0 when the model is loaded; 1 when it is not (the
    generation failed or was cancelled, or the server refused or did not
    answer); 2 for wrong options; 130 after Ctrl-C, which cancels the
    generation.
    """
    settings = get_settings()
    with connect(url or settings.server_url, settings.api_key) as client:
        raise typer.Exit(run(client, model, load))


def run(client: httpx.Client, model: str, load: Load | None) -> int:
    """Submit the generation, wait for its end, and return the command's exit status."""
    request = {"model": model, "prompt": PROMPT, "max_new_tokens": 1, "load": load.options if load else None}
    job = None
    start = time.monotonic()
    try:
        job = submit(client, "/v1/generations", request, Job, answered_before=False)
        typer.echo(f"generation {job.id}", err=True)
        job = wait_for(client, job)
    except ServerError as error:
        _say(str(error))
        return NOT_LOADED
    except KeyboardInterrupt:
        _say(_interrupt(client, job))
        return INTERRUPTED
    if job.status != "succeeded":
        _say(f"generation {job.id} {job.ending}")
        return NOT_LOADED
    typer.echo(f"{model} is loaded; it took {time.monotonic() - start:.1f} s")
    return 0


def wait_for(client: httpx.Client, job: Job) -> Job:
    """Poll until the job ends, and show its state on stderr: one line that changes on a terminal, else a line for each
    new state. Raises ServerError if the server is lost."""
    console = Console(stderr=True)
    printed = ""
    with console.status("") as status:
        while not job.over:
            status.update(Text(job.state))
            state = re.sub(r"[\d,]+", "", job.state)  # a line for each second would fill a log
            if not console.is_terminal and state != printed:
                typer.echo(job.state, err=True)
                printed = state
            time.sleep(POLL_SECONDS)
            job = get(client, f"/v1/generations/{job.id}", Job)
    return job


def _interrupt(client: httpx.Client, job: Job | None) -> str:
    """Cancel the generation, and return what to tell the user."""
    if job is None:
        return "interrupted before the server answered; a generation of one token may have been created"
    try:
        cancelled = send(client, client.build_request("POST", f"/v1/jobs/{job.id}/cancel"), answered_before=False)
    except ServerError as error:
        return f"interrupted; generation {job.id} could not be cancelled: {error}"
    if not cancelled.is_success:
        return f"interrupted; generation {job.id} could not be cancelled: the server answers {cancelled.status_code}"
    return f"interrupted; generation {job.id} is cancelled, but a worker that already loads the model continues"


def _say(text: str) -> None:
    typer.echo(f"pagewright warm: {text}", err=True)
