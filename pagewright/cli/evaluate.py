"""`pagewright evaluate`: run an evaluation on a server, show its scores beside the baselines', and check minimums."""

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

import httpx
import typer
from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from db.vocabulary import Split
from models.scoring.names import BASELINE_PREFIX, Metric
from pagewright.cli.client import Job, ServerError, connect, get, submit
from pagewright.settings import get_settings

POLL_SECONDS = 0.5
BELOW_MINIMUM, NO_SCORES, INTERRUPTED = 1, 3, 130
"""Exit statuses. Typer uses 2 for wrong options."""

PLAIN_WIDTH = 120
"""Width in characters of a table that is written to a file or a pipe."""


def evaluate(
    model: Annotated[str, typer.Argument(help="A registered model, baseline:nearest-neighbour or baseline:constant.")],
    dataset: Annotated[str, typer.Argument(help="The name of a registered dataset.")],
    split: Annotated[Split, typer.Option(help="The split to evaluate on.")] = Split.TEST,
    limit: Annotated[int | None, typer.Option(min=1, help="Number of rows, from the first. Default: all.")] = None,
    metric: Annotated[
        list[Metric] | None, typer.Option(help="Compute this metric. May be repeated. Default: all metrics.")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Token limit of each completion. Default: the longest reference's length.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait for the scores, or print the evaluation's id and exit.")] = True,
    minimum: Annotated[
        list[str] | None,
        typer.Option(
            "--min", metavar="METRIC=VALUE", help="Exit with status 1 if the score is lower. May be repeated."
        ),
    ] = None,
    url: Annotated[str | None, typer.Option(help="The server's address. Default: PAGEWRIGHT_SERVER_URL.")] = None,
) -> None:
    """Evaluate a model on a dataset and print the scores. The server does the work.

    PAGEWRIGHT_API_KEY is the API key.

    Exit status: 0 when all minimums are reached; 1 when a score is below a
    --min; 2 for wrong options; 3 when there are no scores (the job failed or
    was cancelled, or the server refused or did not answer); 130 after
    Ctrl-C, which does not stop the evaluation.
    """
    metrics = list(dict.fromkeys(metric or Metric))
    minimums = parse_minimums(minimum or [], metrics)
    if minimums and not wait:
        raise typer.BadParameter("can't be checked with --no-wait", param_hint="--min")
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


class Score(BaseModel):
    value: float
    low: float | None
    high: float | None
    n: int


class Evaluation(Job):
    """The fields of the server's evaluation that this command uses."""

    model: str
    dataset: str
    split: str
    limit: int | None
    rows: int
    rows_done: int
    template: str | None = None
    extract: str | None = None
    scores: dict[str, Score]


class LeaderboardItem(BaseModel):
    model: str
    scores: dict[str, Score]


class Leaderboard(BaseModel):
    items: list[LeaderboardItem]
    missing_baselines: list[str]


@dataclass(frozen=True)
class Minimum:
    """The lowest acceptable value of a metric: 0 to 100 for chrF, 0 to 1 for the others."""

    metric: Metric
    value: float


def parse_minimums(texts: Sequence[str], metrics: Sequence[Metric]) -> list[Minimum]:
    """Parse `METRIC=VALUE` texts.

    Raises typer.BadParameter for a metric that is unknown or not in `metrics`, and for a value outside the metric's
    range.
    """
    minimums = []
    for text in texts:
        name, _, number = text.partition("=")
        if name not in list(Metric):
            raise _bad_minimum(f"{name!r} is not one of: {', '.join(Metric)}")
        if name not in metrics:
            raise _bad_minimum(f"{name} is not one of the metrics that --metric names")
        highest = 100 if name == Metric.CHRF else 1
        try:
            value = float(number)
        except ValueError:
            raise _bad_minimum(f"{text!r} has no number after the equals sign") from None
        if not 0 <= value <= highest:
            raise _bad_minimum(f"{name} is between 0 and {highest}; {number} is out of range")
        minimums.append(Minimum(Metric(name), value))
    return minimums


def _bad_minimum(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="--min")


def run(client: httpx.Client, request: dict[str, Any], *, wait: bool, minimums: Sequence[Minimum]) -> int:
    """Submit `request`, the body of a POST to /v1/evaluations, and return the command's exit status.

    Without `wait` the evaluation's id is printed and the status is 0. Otherwise the status is 0 if all minimums are
    reached, BELOW_MINIMUM if a score is lower, NO_SCORES if the evaluation has no scores, INTERRUPTED after Ctrl-C.
    """
    evaluation = None
    try:
        evaluation = submit(client, "/v1/evaluations", request, Evaluation, answered_before=False)
        if not wait:
            typer.echo(evaluation.id)
            return 0
        typer.echo(f"evaluation {evaluation.id}", err=True)
        evaluation = wait_for(client, evaluation)
        if evaluation.scores:
            _show(evaluation, _leaderboard(client, evaluation))
        if evaluation.status != "succeeded":
            _say(f"evaluation {evaluation.id} {evaluation.ending}")
            return NO_SCORES
    except ServerError as error:
        _say(str(error))
        return NO_SCORES
    except KeyboardInterrupt:
        if evaluation is None:
            _say("interrupted before the server answered; the evaluation may or may not have been created")
        else:
            _say(f"interrupted; evaluation {evaluation.id} continues on the server")
        return INTERRUPTED
    shortfalls = [text for minimum in minimums if (text := _shortfall(minimum, evaluation.scores))]
    for text in shortfalls:
        _say(text)
    return BELOW_MINIMUM if shortfalls else 0


def wait_for(client: httpx.Client, evaluation: Evaluation) -> Evaluation:
    """Poll until the evaluation ends, with a progress bar on stderr. Raises ServerError if the server is lost."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=evaluation.rows, left="")
        while True:
            left = timedelta(seconds=round(evaluation.remaining_seconds or 0))
            progress.update(
                task,
                description=evaluation.state,
                completed=evaluation.rows_done,
                left=f"{left} left" if left and not evaluation.over else "",
            )
            if evaluation.over:
                return evaluation
            time.sleep(POLL_SECONDS)
            evaluation = get(client, f"/v1/evaluations/{evaluation.id}", Evaluation)


def _leaderboard(client: httpx.Client, evaluation: Evaluation) -> Leaderboard | None:
    """Return the leaderboard of the same rows, or None if the server does not give it: the scores are shown anyway."""
    query: dict[str, str | int] = {"dataset": evaluation.dataset, "split": evaluation.split, "rows": evaluation.rows}
    try:
        return get(client, "/v1/leaderboard", Leaderboard, query)
    except ServerError as error:
        _say(f"the baselines' scores are not available: {error}")
        return None


def _show(evaluation: Evaluation, leaderboard: Leaderboard | None) -> None:
    """Print the scores to stdout, and hints to stderr."""
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)
    items = leaderboard.items if leaderboard else []
    baselines = {
        item.model: item.scores
        for item in reversed(items)
        if item.model.startswith(BASELINE_PREFIX) and item.model != evaluation.model
    }
    title = f"{evaluation.model} on {evaluation.dataset}, {evaluation.split}, {evaluation.rows_done} rows"
    if evaluation.rows_done < evaluation.rows:
        title += f" of {evaluation.rows}"
    if evaluation.template is not None:
        title += f"\nprompt template {evaluation.template}, extract {evaluation.extract}"
    table = Table(title=Text(title))
    table.add_column("metric", no_wrap=True)
    for name in ("value", "95 % interval", "n", *(name.removeprefix(BASELINE_PREFIX) for name in sorted(baselines))):
        table.add_column(Text(name), justify="right")
    for metric, score in evaluation.scores.items():
        interval = ""
        if score.low is not None and score.high is not None:
            interval = f"{_shown(metric, score.low)} to {_shown(metric, score.high)}"
        others = [baselines[name].get(metric) for name in sorted(baselines)]
        table.add_row(
            Text(metric),
            _shown(metric, score.value),
            interval,
            str(score.n),
            *(_shown(metric, other.value) if other else "" for other in others),
        )
    console.print(table)
    missing = [name for name in leaderboard.missing_baselines if name != evaluation.model] if leaderboard else []
    if missing:
        commands = " and ".join(f"`{_command(name, evaluation)}`" for name in missing)
        _say(f"compare the scores with the baselines on the same rows: run {commands}")


def _command(model: str, evaluation: Evaluation) -> str:
    """Return the command that evaluates another model on the same rows."""
    limit = [] if evaluation.limit is None else ["--limit", str(evaluation.limit)]
    return shlex.join(["pagewright", "evaluate", model, evaluation.dataset, "--split", evaluation.split, *limit])


def _shown(metric: str, value: float) -> str:
    return f"{value:.2f}" if metric == Metric.CHRF else f"{value:.4f}"


def _shortfall(minimum: Minimum, scores: dict[str, Score]) -> str | None:
    score = scores.get(minimum.metric)
    if score is None:
        return f"{minimum.metric} has no score; the minimum is {minimum.value:g}"
    # Not rounded: 0.4996 shown as 0.5 would seem to reach 0.5.
    return None if score.value >= minimum.value else f"{minimum.metric} is {score.value}, less than {minimum.value:g}"


def _say(text: str) -> None:
    typer.echo(f"pagewright evaluate: {text}", err=True)
