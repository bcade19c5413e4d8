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
) -> None:
    """Start Redis, the database, the API and two workers on this machine. Ctrl-C stops them."""
    import sys

    from pagewright.cli.up.errors import UpError
    from pagewright.cli.up.supervisor import run

    log_to_files = logs == LogTarget.FILES or (logs == LogTarget.AUTO and sys.stderr.isatty())
    try:
        run(get_settings(), log_to_files=log_to_files)
    except UpError as error:
        typer.echo(f"pagewright up: {error}", err=True)
        raise typer.Exit(1) from None
