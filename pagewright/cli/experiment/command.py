"""Run `pagewright experiment`: choose the server, print the results, and return the exit status."""

import contextlib
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import typer

from db.queries.models import BUNDLED
from pagewright.cli.client import ServerError, connect
from pagewright.cli.experiment import experiment, table
from pagewright.cli.experiment.plan import ExperimentError, Options
from pagewright.cli.local_server import LocalServerError, running_server
from pagewright.settings import Settings

FAILED, INTERRUPTED = 1, 130


def run(settings: Settings, options: Options, *, url: str | None, report: Path, data: Path) -> int:
    """Run the experiment, print its results on stdout, and return the command's exit status.

    The server is the one at `url`, else the one that the settings name, else one that is started here with `data` as
    its data directory.
    """
    command = shlex.join(["pagewright", *sys.argv[1:]])
    if url is None and "server_url" in settings.model_fields_set:
        url = settings.server_url
    try:
        with _server(settings, options, url, data) as (client, server_options):
            results = experiment.run(client, server_options, settings.alpaca_webgen, report, command)
    except (LocalServerError, ExperimentError, ServerError) as error:
        typer.echo(f"pagewright experiment: {error}", err=True)
        return FAILED
    except KeyboardInterrupt:
        typer.echo("pagewright experiment: interrupted; run the same command again to continue", err=True)
        return INTERRUPTED
    typer.echo(table.markdown(results))
    typer.echo(f"Report: {report / 'index.html'}", err=True)
    return 0


@contextlib.contextmanager
def _server(
    settings: Settings, options: Options, url: str | None, data: Path
) -> Iterator[tuple[httpx.Client, Options]]:
    """Yield a client of the server, and the options for this server.

    If the server is started here and the model is a folder of this machine, the folder's parent becomes the server's
    models directory, and the option `model` becomes the folder's name.
    """
    if url is not None:
        with connect(url, settings.api_key) as client:
            yield client, options
        return
    models_dir, folder = settings.models_dir, Path(options.model)
    if options.model not in BUNDLED and folder.is_dir():
        models_dir = folder.resolve().parent
        options = replace(options, model=folder.resolve().name)
    typer.echo(f"Starting a server with the data directory {data}", err=True)
    with running_server(str(data), role="admin", models_dir=models_dir, log=data / "server.log") as client:
        yield client, options
