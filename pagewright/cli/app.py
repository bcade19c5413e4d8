"""The `pagewright` command. Each command is a module of this package; this module assembles them."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from pagewright.cli import api, demo, evaluate, keys, migrate, prune, settings, warm, worker
from pagewright.cli.examples import examples
from pagewright.cli.experiment import arguments as experiment
from pagewright.cli.up import command as up
from pagewright.logging import configure_logging
from pagewright.settings import PREFIX, Settings, UnknownSettings

IMPORTANT = (
    "data_dir",
    "database_url",
    "redis_url",
    "artifacts_url",
    "host",
    "port",
    "log_level",
    "server_url",
    "api_key",
)
"""The settings that `pagewright --help` lists."""


def _variables() -> str:
    """Return the paragraphs of `pagewright --help` about environment variables."""
    lines = [f"{PREFIX}{name.upper()}: {Settings.model_fields[name].description}" for name in IMPORTANT]
    return "\n\n".join(["Environment variables; `pagewright settings` lists all of them:", *lines])


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # local variables may hold keys and passwords
    help="A self-hosted job server for language models that write HTML.",
    epilog=_variables() + "\n\n" + examples("pagewright up", "pagewright up --help"),
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pagewright {version('pagewright')}")
        raise typer.Exit


@app.callback()
def configure(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    try:
        configure_logging()
    except ValidationError as error:
        from api.messages import rule  # imported here: it loads FastAPI, which most commands do without

        # The values are not shown: one of them may be a password.
        for fault in error.errors():
            typer.echo(f"pagewright: {PREFIX}{str(fault['loc'][0]).upper()}: {rule(fault)}", err=True)
        raise typer.Exit(1) from None
    except UnknownSettings as error:
        for line in str(error).splitlines():
            typer.echo(f"pagewright: {line}", err=True)
        raise typer.Exit(1) from None


def _add(name: str, command: Callable[..., Any], *lines: str) -> None:
    app.command(name, epilog=examples(*lines))(command)


_add("up", up.up, "pagewright up", "pagewright up --port 8001 --logs stderr")
_add("api", api.api, "PAGEWRIGHT_HOST=0.0.0.0 pagewright api")
_add("worker", worker.worker, "pagewright worker --role build")
_add("migrate", migrate.migrate, "pagewright migrate")
_add("prune", prune.prune, "pagewright prune --help")
app.add_typer(keys.app, name="keys")
_add("settings", settings.settings, "pagewright settings")
_add("evaluate", evaluate.evaluate, "pagewright evaluate starter pages --min exact_match=0.1")
_add("warm", warm.warm, "pagewright warm starter")
_add("demo", demo.demo, "pagewright demo")
_add("experiment", experiment.experiment, "pagewright experiment starter --max-steps 100 --limit 22")
