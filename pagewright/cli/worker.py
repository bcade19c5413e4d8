"""`pagewright worker`: one worker process."""

from typing import Annotated

import typer


def worker(
    role: Annotated[
        str, typer.Option(help="inference: generations and evaluations; build: fine-tunes, merges, quantizations.")
    ] = "inference",
) -> None:
    """Run one worker until SIGTERM. Jobs that it has not finished by then are queued again."""
    # Imported here: the API's image has this command, but not torch.
    from workers.main import run
    from workers.runtime import WorkerRole

    if role not in list(WorkerRole):
        raise typer.BadParameter(f"{role!r} is not one of: {', '.join(WorkerRole)}", param_hint="--role")
    raise typer.Exit(run(WorkerRole(role)))
