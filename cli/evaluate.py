"""A client of the server's evaluations: ask for one, wait for it, show its scores beside the baselines', and judge."""

import shlex
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import httpx
import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from db.vocabulary import Metric

POLL_SECONDS = 0.5
RETRY_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
"""How long a server that answered before may be away: a restart of the API does not end the waiting."""

ANSWER_SECONDS = 30.0
COMING_BACK = (502, 503, 504)
"""What the server, or a proxy before it, answers while a part of it restarts."""

BELOW_MINIMUM, NO_SCORES, INTERRUPTED = 1, 3, 130
"""Exit statuses. 2 is for a wrong use of the command, as everywhere."""

BASELINE = "baseline:"
PLAIN_WIDTH = 120
"""Columns of a table that goes to a file or a pipe."""


class EvaluateError(Exception):
    """There are no scores; says why, in words for the person at the terminal."""


class Score(BaseModel):
    value: float
    low: float | None
    high: float | None
    n: int


class JobError(BaseModel):
    type: str
    message: str


class Evaluation(BaseModel):
    """What is used here of what the server says of an evaluation."""

    id: str
    status: str
    attempt: int
    error: JobError | None
    remaining_seconds: float | None
    model: str
    dataset: str
    split: str
    limit: int | None
    rows: int
    rows_done: int
    scores: dict[str, Score]

    @property
    def over(self) -> bool:
        return self.status in ("succeeded", "failed", "cancelled")


class LeaderboardItem(BaseModel):
    model: str
    scores: dict[str, Score]


class Leaderboard(BaseModel):
    items: list[LeaderboardItem]
    missing_baselines: list[str]


Answer = TypeVar("Answer", bound=BaseModel)


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


def connect(url: str, api_key: str) -> httpx.Client:
    """A client of the server at `url`, with the key if there is one. Raises typer.BadParameter for what is no URL."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        hint = "--url or PAGEWRIGHT_SERVER_URL"
        raise typer.BadParameter(f"{url!r} is no http:// or https:// address", param_hint=hint)
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return httpx.Client(base_url=parsed, headers=headers, timeout=ANSWER_SECONDS)


def run(client: httpx.Client, request: dict[str, Any], *, wait: bool, minimums: Sequence[Minimum]) -> int:
    """Submit `request`, the body of a POST to /v1/evaluations, and return the command's exit status.

    0 if all minimums are reached (or, without `wait`, as soon as there is an id), 1 if one is not, 3 if there are no
    scores to judge, 130 after Ctrl-C.
    """
    evaluation = None
    try:
        evaluation = submit(client, request)
        if not wait:
            typer.echo(evaluation.id)
            return 0
        typer.echo(f"evaluation {evaluation.id}", err=True)
        evaluation = wait_for(client, evaluation)
        if evaluation.scores:
            _show(evaluation, _leaderboard(client, evaluation))
        if evaluation.status != "succeeded":
            reason = f": {evaluation.error.message} ({evaluation.error.type})" if evaluation.error else ""
            raise EvaluateError(f"evaluation {evaluation.id} {_ended(evaluation)}{reason}")
    except EvaluateError as error:
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


def submit(client: httpx.Client, request: dict[str, Any]) -> Evaluation:
    """Ask for an evaluation. Raises EvaluateError if the server can't be reached or refuses.

    A connection that is lost after the request was sent is no reason to stop: sent again under the same
    Idempotency-Key, it finds the evaluation that the first one may have made.
    """
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    message = client.build_request("POST", "/v1/evaluations", json=request, headers=headers)
    return _read(_send(client, message, answered_before=False), Evaluation)


def wait_for(client: httpx.Client, evaluation: Evaluation) -> Evaluation:
    """Poll until the evaluation is over, with a progress bar on stderr. Raises EvaluateError if the server is lost."""
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
                description=_state(evaluation),
                completed=evaluation.rows_done,
                left=f"{left} left" if left and not evaluation.over else "",
            )
            if evaluation.over:
                return evaluation
            time.sleep(POLL_SECONDS)
            message = client.build_request("GET", f"/v1/evaluations/{evaluation.id}")
            evaluation = _read(_send(client, message, answered_before=True), Evaluation)


def _state(evaluation: Evaluation) -> str:
    return evaluation.status if evaluation.attempt <= 1 else f"{evaluation.status}, attempt {evaluation.attempt}"


def _ended(evaluation: Evaluation) -> str:
    return "was cancelled" if evaluation.status == "cancelled" else evaluation.status


def _leaderboard(client: httpx.Client, evaluation: Evaluation) -> Leaderboard | None:
    """None if it can't be had: the scores are worth showing without it."""
    query: dict[str, str | int] = {"dataset": evaluation.dataset, "split": evaluation.split, "rows": evaluation.rows}
    message = client.build_request("GET", "/v1/leaderboard", params=query)
    try:
        return _read(_send(client, message, answered_before=True), Leaderboard)
    except EvaluateError as error:
        _say(f"the baselines' scores can't be had: {error}")
        return None


def _send(client: httpx.Client, message: httpx.Request, *, answered_before: bool) -> httpx.Response:
    """The server's answer, asked for again and again for PATIENCE_SECONDS while it is away.

    Raises EvaluateError when they are over, and at once if nothing listens at an address that has not answered before:
    it is more likely wrong than restarting.
    """
    deadline = None
    while True:
        response = None
        try:
            response = client.send(message)
            if response.status_code not in COMING_BACK:
                return response
            trouble = f"answers with status {response.status_code}"
        except httpx.HTTPError as error:
            trouble = f"does not answer: {str(error) or type(error).__name__}"
            if not answered_before and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                raise EvaluateError(f"the server at {client.base_url} {trouble}") from None
        answered_before = True
        if deadline is None:
            deadline = time.monotonic() + PATIENCE_SECONDS
            _say(f"the server {trouble}; trying for up to {PATIENCE_SECONDS:.0f} seconds more")
        elif time.monotonic() > deadline:
            if response is not None:
                return response
            raise EvaluateError(f"the server at {client.base_url} {trouble}")
        time.sleep(RETRY_SECONDS)


def _read(response: httpx.Response, kind: type[Answer]) -> Answer:
    """The body of a success. Raises EvaluateError with the server's own words for anything else."""
    if not response.is_success:
        hint = "; PAGEWRIGHT_API_KEY holds the key" if response.status_code == 401 else ""
        raise EvaluateError(f"the server refuses ({response.status_code}): {_detail(response)}{hint}")
    try:
        return kind.model_validate_json(response.content)
    except ValidationError:
        raise EvaluateError(f"what answers at {response.url} is not a Pagewright server of this version") from None


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase


def _show(evaluation: Evaluation, leaderboard: Leaderboard | None) -> None:
    """The scores go to stdout; what there is to say about them to stderr."""
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)
    items = leaderboard.items if leaderboard else []
    baselines = {
        item.model: item.scores
        for item in reversed(items)
        if item.model.startswith(BASELINE) and item.model != evaluation.model
    }
    title = f"{evaluation.model} on {evaluation.dataset}, {evaluation.split}, {evaluation.rows_done} rows"
    if evaluation.rows_done < evaluation.rows:
        title += f" of {evaluation.rows}"
    table = Table(title=Text(title))
    table.add_column("metric", no_wrap=True)
    for name in ("value", "95 % interval", "n", *(name.removeprefix(BASELINE) for name in sorted(baselines))):
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
