"""`pagewright worker`: one worker process."""

from typing import Annotated

import typer

from workers.roles import WorkerRole


def worker(
    role: Annotated[
        WorkerRole,
        typer.Option(help="inference: generations and evaluations. build: fine-tunes, merges and quantizations."),
    ] = WorkerRole.INFERENCE,
) -> None:
    """Run one worker until SIGTERM. Jobs that it has not finished by then are queued again."""
    from workers.main import run  # imported here: the API's image has this command, but not torch

    raise typer.Exit(run(role))
