"""The `pagewright` command. Each command is a module of this package; this module assembles them."""

import typer
from pydantic import ValidationError

from pagewright.cli import api, demo, evaluate, keys, migrate, prune, settings, worker
from pagewright.cli.experiment import arguments as experiment
from pagewright.cli.up import command as up
from pagewright.logging import configure_logging
from pagewright.settings import PREFIX, UnknownSettings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # local variables may hold keys and passwords
    help="A self-hosted job server for language models that write HTML.",
)


@app.callback()
def configure() -> None:
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


app.command("up")(up.up)
app.command("api")(api.api)
app.command("worker")(worker.worker)
app.command("migrate")(migrate.migrate)
app.command("prune")(prune.prune)
app.add_typer(keys.app, name="keys")
app.command("settings")(settings.settings)
app.command("evaluate")(evaluate.evaluate)
app.command("demo")(demo.demo)
app.command("experiment")(experiment.experiment)
