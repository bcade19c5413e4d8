"""The command line of `pagewright experiment`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pagewright.cli.experiment.plan import Options
from pagewright.settings import get_settings


def json_object(text: str) -> dict[str, Any]:
    """Parse an option whose value is a JSON object. Raises typer.BadParameter for anything else."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise typer.BadParameter("not a JSON object")
    return value


def experiment(
    model: Annotated[
        str, typer.Argument(help="The base model: a registered model, `owner/name` on the hub, or a folder.")
    ] = "starter",
    name: Annotated[
        str, typer.Option(help="Prefix for the names of models and datasets. A new prefix repeats all the work.")
    ] = "experiment",
    revision: Annotated[str | None, typer.Option(help="The model's commit on the hub. Default: the latest.")] = None,
    dataset_revision: Annotated[
        str | None, typer.Option(help="The dataset's commit on the hub. Default: the latest.")
    ] = None,
    lora: Annotated[
        dict | None, typer.Option(parser=json_object, help="The `lora` options of each fine-tune, as JSON.")
    ] = None,
    training: Annotated[
        dict | None, typer.Option(parser=json_object, help="The `training` options of each fine-tune, as JSON.")
    ] = None,
    quantization: Annotated[
        dict | None, typer.Option(parser=json_object, help="The `options` of the quantization, as JSON.")
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Number of steps of each fine-tune. Default: the recipe's.")
    ] = None,
    clean: Annotated[
        bool | None,
        typer.Option(help="Train on valid pages only, with one indentation. Default: yes for the starter model."),
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Token limit of each completion. Default: the longest reference's length.")
    ] = None,
    first: Annotated[
        int, typer.Option(min=1, help="Also evaluate the first N test rows separately, as the original did.")
    ] = 22,
    limit: Annotated[int | None, typer.Option(min=1, help="Number of test rows. Default: all.")] = None,
    report: Annotated[Path, typer.Option(help="The folder that the report is written to.")] = Path("experiment-report"),
    data: Annotated[Path, typer.Option(help="The data directory of the server that the command starts.")] = (
        Path("experiment-data")
    ),
    url: Annotated[
        str | None,
        typer.Option(help="The address of a running server. Default: PAGEWRIGHT_SERVER_URL, or start a server."),
    ] = None,
) -> None:
    """Repeat the original experiment over HTTP: quantize, fine-tune, evaluate, and print one table.

    The dataset is read from the file that PAGEWRIGHT_ALPACA_WEBGEN names, or
    from the hub. PAGEWRIGHT_API_KEY is the admin key of a running server.
    Models that an earlier run created with the same options are used again.

    Exit status: 0 when all steps succeeded, also if an aim is missed; 1 when
    a step failed; 2 for wrong options; 130 after Ctrl-C.
    """
    from pagewright.cli.experiment import command

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
