"""The `pagewright` command: everything on one machine with `up`, or one part with each of the others."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from db.queries import api_keys, models
from db.session import get_database
from db.vocabulary import JobKind, Role, Split
from models.scoring.names import Metric
from pagewright.logging import configure_logging
from pagewright.settings import get_settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # they may hold keys and passwords
    help="A self-hosted job server for language models that write HTML.",
)
keys = typer.Typer(no_args_is_help=True, help="API keys.")
app.add_typer(keys, name="keys")


@app.callback()
def _configure() -> None:
    try:
        configure_logging()
    except ValidationError as error:
        # The values are left out: one of them may hold a password.
        for fault in error.errors():
            typer.echo(f"pagewright: PAGEWRIGHT_{str(fault['loc'][0]).upper()}: {fault['msg']}", err=True)
        raise typer.Exit(1) from None


@app.command()
def up() -> None:
    """Start everything on this machine: Redis, database, API, workers. Ctrl-C stops it."""
    from pagewright.cli.up import UpError, run

    try:
        run(get_settings())
    except UpError as error:
        typer.echo(f"pagewright: {error}", err=True)
        raise typer.Exit(1) from None


@app.command()
def api() -> None:
    """Run the HTTP front end."""
    import uvicorn

    from api.server import connections

    settings = get_settings()
    connections.allow_many_connections()
    uvicorn.run("api.app:create_app", factory=True, host=settings.host, port=settings.port, **connections.OPTIONS)


@app.command()
def worker(role: Annotated[str, typer.Option(help="What it works on: inference or training.")] = "inference") -> None:
    """Run one worker. SIGTERM ends it in order: no job is lost."""
    # Here and not above: the front end is installed without torch.
    from workers.main import run
    from workers.runtime import WorkerRole

    if role not in list(WorkerRole):
        raise typer.BadParameter(f"{role!r} is none of: {', '.join(WorkerRole)}", param_hint="--role")
    raise typer.Exit(run(WorkerRole(role)))


@app.command()
def migrate() -> None:
    """Bring the database to this version's schema, and register the bundled models."""
    import migrations

    migrations.upgrade(get_settings().database)
    with get_database().write() as session:
        models.ensure_bundled(session)


@app.command()
def prune(
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Since a job's end: 12h, 30d or 4w.")],
    kind: Annotated[list[JobKind] | None, typer.Option(help="Once for each; default: all but evaluation.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would be deleted.")] = False,
) -> None:
    """Delete jobs that are over for so long, with their results, and artifacts that nothing names any more.

    Registered models, the jobs that made them, datasets, and batches of
    which a job is newer are kept; evaluations are, unless asked for. It may
    run beside everything else, be interrupted, and be run again.
    """
    from pagewright.artifacts import get_artifacts
    from pagewright.cli.prune import RESULTS, parse_age, run

    try:
        age = parse_age(older_than)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older-than") from None
    kinds = [each for each in JobKind if (each in kind if kind else each not in RESULTS)]
    try:
        run(get_database(), get_artifacts(), age, kinds, dry_run=dry_run)
    except OSError as error:
        typer.echo(f"pagewright: {error}", err=True)
        raise typer.Exit(1) from None


@keys.command("create")
def keys_create(name: str, role: Annotated[Role, typer.Option()] = Role.USER) -> None:
    """Make an API key and print it, this once."""
    with get_database().write() as session:
        _, secret = api_keys.create(session, name, role)
    typer.echo(secret)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A registered model, or baseline:nearest-neighbour, baseline:constant.")],
    dataset: Annotated[str, typer.Argument(help="The name of a dataset.")],
    split: Annotated[Split, typer.Option(help="Which of its rows.")] = Split.TEST,
    limit: Annotated[int | None, typer.Option(min=1, help="The split's first rows alone; default: all.")] = None,
    metric: Annotated[list[Metric] | None, typer.Option(help="Once for each; default: all.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Of each completion.")] = None,
    wait: Annotated[bool, typer.Option(help="Until it is over; else print its id and leave.")] = True,
    minimum: Annotated[
        list[str] | None,
        typer.Option("--min", metavar="METRIC=VALUE", help="End with status 1 if the score is less. Once for each."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="The server's address; default: PAGEWRIGHT_SERVER_URL.")] = None,
) -> None:
    """Have a server evaluate a model on a dataset, and show the scores.

    PAGEWRIGHT_API_KEY holds the key that it asks with.

    Ends with status 1 if a --min is not reached, 2 if it is used wrongly,
    3 if there are no scores (the job failed or was cancelled, the server
    refuses or can't be reached), 130 on Ctrl-C: the evaluation goes on.
    """
    from pagewright.cli.client import connect
    from pagewright.cli.evaluate import parse_minimums, run

    metrics = list(dict.fromkeys(metric or Metric))
    minimums = parse_minimums(minimum or [], metrics)
    if minimums and not wait:
        raise typer.BadParameter("there is nothing to judge with --no-wait", param_hint="--min")
    settings = get_settings()
    request = {
        "model": model,
        "dataset": dataset,
        "split": split,
        "limit": limit,
        "metrics": metrics,
        "max_new_tokens": max_new_tokens,
    }
    with connect(url or settings.server_url, settings.api_key) as client:
        raise typer.Exit(run(client, request, wait=wait, minimums=minimums))


def json_object(text: str) -> dict[str, Any]:
    """The value of an option that is a JSON object. Raises typer.BadParameter for anything else."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"no JSON: {error}") from None
    if not isinstance(value, dict):
        raise typer.BadParameter("no JSON object")
    return value


@app.command()
def demo(
    count: Annotated[int, typer.Option(min=1, max=500, help="How many held-out prompts.")] = 20,
) -> None:
    """Start everything, generate pages from held-out prompts over HTTP, and show how well they came out."""
    from pagewright.cli.demo import DemoError, run

    try:
        run(count)
    except DemoError as error:
        typer.echo(f"pagewright demo: {error}", err=True)
        raise typer.Exit(1) from None


@app.command()
def experiment(
    model: Annotated[
        str, typer.Argument(help="The base: a registered model, `owner/name` on the hub, or a folder.")
    ] = "starter",
    name: Annotated[str, typer.Option(help="What the names begin with; another one makes everything anew.")] = (
        "experiment"
    ),
    revision: Annotated[str | None, typer.Option(help="The model's commit on the hub; default: the latest.")] = None,
    dataset_revision: Annotated[str | None, typer.Option(help="The dataset's; default: the latest.")] = None,
    lora: Annotated[dict | None, typer.Option(parser=json_object, help="A fine-tune's `lora`, as JSON.")] = None,
    training: Annotated[dict | None, typer.Option(parser=json_object, help="Its `training`.")] = None,
    quantization: Annotated[dict | None, typer.Option(parser=json_object, help="A quantization's `options`.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Of each fine-tune, instead of its length.")] = None,
    clean: Annotated[
        bool | None, typer.Option(help="Train on valid pages laid out in one way; default: the starter is.")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Of each completion; default: what the longest reference takes.")
    ] = None,
    first: Annotated[int, typer.Option(min=1, help="So many of the first test rows are evaluated alone, too.")] = 22,
    limit: Annotated[int | None, typer.Option(min=1, help="So many test rows instead of all.")] = None,
    report: Annotated[Path, typer.Option(help="Where the report is written.")] = Path("experiment-report"),
    data: Annotated[Path, typer.Option(help="The data directory of the server that it starts.")] = (
        Path("experiment-data")
    ),
    url: Annotated[
        str | None, typer.Option(help="A running server; default: PAGEWRIGHT_SERVER_URL, or one that it starts.")
    ] = None,
) -> None:
    """Do the original experiment over HTTP: quantize, fine-tune, evaluate, and print one table.

    PAGEWRIGHT_ALPACA_WEBGEN names a file of the dataset, which otherwise
    comes from the hub, and PAGEWRIGHT_API_KEY holds a running server's
    admin key. Models that an earlier run made in the same way are taken.

    Ends with status 1 if a step fails, 130 on Ctrl-C. An aim that is
    missed is said, and changes no status.
    """
    from pagewright.cli.experiment import command
    from pagewright.cli.experiment.plan import Options

    options = Options(
        model=model,
        name=name,
        revision=revision,
        dataset_revision=dataset_revision,
        lora=lora,
        training=training,
        quantization=quantization or {},
        max_steps=max_steps,
        clean=clean,
        max_new_tokens=max_new_tokens,
        first=first,
        limit=limit,
    )
    raise typer.Exit(command.run(get_settings(), options, url=url, report=report, data=data))


if __name__ == "__main__":
    app()
