"""A client of the server's evaluations: ask for one, wait for it, show its scores beside the baselines', and judge."""

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import typer
from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from models.scoring.names import BASELINE_PREFIX, Metric
from pagewright.cli.client import Job, ServerError, get, submit

POLL_SECONDS = 0.5
BELOW_MINIMUM, NO_SCORES, INTERRUPTED = 1, 3, 130
"""Exit statuses. 2 is for a wrong use of the command, as everywhere."""

PLAIN_WIDTH = 120
"""Columns of a table that goes to a file or a pipe."""


class Score(BaseModel):
    value: float
    low: float | None
    high: float | None
    n: int


class Evaluation(Job):
    """What is used here of what the server says of an evaluation."""

    model: str
    dataset: str
    split: str
    limit: int | None
    rows: int
    rows_done: int
    scores: dict[str, Score]


class LeaderboardItem(BaseModel):
    model: str
    scores: dict[str, Score]


class Leaderboard(BaseModel):
    items: list[LeaderboardItem]
    missing_baselines: list[str]


@dataclass(frozen=True)
class Minimum:
    """What a metric must reach, on the metric's own scale."""

    metric: Metric
    value: float


def parse_minimums(texts: Sequence[str], metrics: Sequence[Metric]) -> list[Minimum]:
    """`METRIC=VALUE` texts as minimums. Raises typer.BadParameter for what `metrics` can't reach or leave out."""
    minimums = []
    for text in texts:
        name, _, number = text.partition("=")
        if name not in list(Metric):
            raise _bad_minimum(f"{name!r} is none of: {', '.join(Metric)}")
        if name not in metrics:
            raise _bad_minimum(f"{name} is not among the metrics that --metric names")
        highest = 100 if name == Metric.CHRF else 1
        try:
            value = float(number)
        except ValueError:
            raise _bad_minimum(f"{text!r} has no number after an equals sign") from None
        if not 0 <= value <= highest:
            raise _bad_minimum(f"{name} is between 0 and {highest}, so it can't be asked to reach {number}")
        minimums.append(Minimum(Metric(name), value))
    return minimums


def _bad_minimum(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="--min")


def run(client: httpx.Client, request: dict[str, Any], *, wait: bool, minimums: Sequence[Minimum]) -> int:
    """Submit `request`, the body of a POST to /v1/evaluations, and return the command's exit status.

    0 if all minimums are reached (or, without `wait`, as soon as there is an id), 1 if one is not, 3 if there are no
    scores to judge, 130 after Ctrl-C.
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
            _say("interrupted before the server answered; whether there is an evaluation now is not known")
        else:
            _say(f"interrupted; evaluation {evaluation.id} goes on without this command")
        return INTERRUPTED
    fallen_short = [text for minimum in minimums if (text := _shortfall(minimum, evaluation.scores))]
    for text in fallen_short:
        _say(text)
    return BELOW_MINIMUM if fallen_short else 0


def wait_for(client: httpx.Client, evaluation: Evaluation) -> Evaluation:
    """Poll until the evaluation is over, with a progress bar on stderr. Raises ServerError if the server is lost."""
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
    """None if it can't be had: the scores are worth showing without it."""
    query: dict[str, str | int] = {"dataset": evaluation.dataset, "split": evaluation.split, "rows": evaluation.rows}
    try:
        return get(client, "/v1/leaderboard", Leaderboard, query)
    except ServerError as error:
        _say(f"the baselines' scores can't be had: {error}")
        return None


def _show(evaluation: Evaluation, leaderboard: Leaderboard | None) -> None:
    """The scores go to stdout; what there is to say about them to stderr."""
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
        _say(f"no score says much without the baselines on the same rows; run {commands}")


def _command(model: str, evaluation: Evaluation) -> str:
    """What evaluates another model on the same rows."""
    limit = [] if evaluation.limit is None else ["--limit", str(evaluation.limit)]
    return shlex.join(["pagewright", "evaluate", model, evaluation.dataset, "--split", evaluation.split, *limit])


def _shown(metric: str, value: float) -> str:
    return f"{value:.2f}" if metric == Metric.CHRF else f"{value:.4f}"


def _shortfall(minimum: Minimum, scores: dict[str, Score]) -> str | None:
    score = scores.get(minimum.metric)
    if score is None:
        return f"{minimum.metric} has no score, so it does not reach {minimum.value:g}"
    # All its digits: rounded, what is just too little looks like enough.
    return None if score.value >= minimum.value else f"{minimum.metric} is {score.value}, less than {minimum.value:g}"


def _say(text: str) -> None:
    typer.echo(f"pagewright evaluate: {text}", err=True)
