"""`pagewright experiment`: which server it runs on, what it prints, and how it ends."""

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
    """Run the experiment on the server at `url`, or that the settings name, or on one of its own over the folder
    `data`; print its results on stdout, and return the command's exit status."""
    command = shlex.join(["pagewright", *sys.argv[1:]])
    if url is None and "server_url" in settings.model_fields_set:
        url = settings.server_url
    try:
        with _server(settings, options, url, data) as (client, options_there):
            results = experiment.run(client, options_there, settings.alpaca_webgen, report, command)
    except (LocalServerError, ExperimentError, ServerError) as error:
        typer.echo(f"pagewright experiment: {error}", err=True)
        return FAILED
    except KeyboardInterrupt:
        typer.echo("pagewright experiment: interrupted; the same command goes on where it stood", err=True)
        return INTERRUPTED
    typer.echo(table.markdown(results))
    typer.echo(f"The report is {report / 'index.html'}.", err=True)
    return 0


@contextlib.contextmanager
def _server(
    settings: Settings, options: Options, url: str | None, data: Path
) -> Iterator[tuple[httpx.Client, Options]]:
    """A client of the server, and the options as they are meant there.

    If the server is started here and the model is a folder of this machine, the folder that holds that becomes the
    server's models directory.
    """
    if url is not None:
        with connect(url, settings.api_key) as client:
            yield client, options
        return
    models_dir, folder = settings.models_dir, Path(options.model)
    if options.model not in BUNDLED and folder.is_dir():
        models_dir = folder.resolve().parent
        options = replace(options, model=folder.resolve().name)
    typer.echo(f"starting a server over {data}", err=True)
    with running_server(str(data), role="admin", models_dir=models_dir, log=data / "server.log") as client:
        yield client, options
