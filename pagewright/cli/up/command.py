"""The command line of `pagewright up`."""

from enum import StrEnum
from typing import Annotated

import typer

from pagewright.settings import get_settings


class LogTarget(StrEnum):
    AUTO = "auto"
    FILES = "files"
    STDERR = "stderr"


def up(
    logs: Annotated[
        LogTarget,
        typer.Option(
            help="Where the logs go. files: DATA_DIR/logs, errors also to the terminal. stderr: all to standard error. "
            "auto: files if standard error is a terminal."
        ),
    ] = LogTarget.AUTO,
    host: Annotated[
        str | None, typer.Option(help="Address that the API listens on. Default: PAGEWRIGHT_HOST, or 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="TCP port of the API. Default: PAGEWRIGHT_PORT, or 8000.")
    ] = None,
) -> None:
    """Start Redis, the database, the API and two workers on this machine. Ctrl-C stops them."""
    import sys

    from pagewright.cli.up.errors import UpError
    from pagewright.cli.up.supervisor import run

    log_to_files = logs == LogTarget.FILES or (logs == LogTarget.AUTO and sys.stderr.isatty())
    settings = get_settings()
    settings = settings.model_copy(update={"host": host or settings.host, "port": port or settings.port})
    try:
        run(settings, log_to_files=log_to_files)
    except UpError as error:
        typer.echo(f"pagewright up: {error}", err=True)
        raise typer.Exit(1) from None
