"""Submit the experiment's jobs, or find those of an earlier run, and wait for them."""

import contextlib
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

import httpx
from pydantic import Field

from pagewright.cli.client import Job, get, submit, walk
from pagewright.cli.evaluate import Evaluation
from pagewright.cli.experiment.plan import ExperimentError
from pagewright.cli.experiment.progress import ReportProgress
from pagewright.cli.experiment.results import Event, Prediction, ResultModel

POLL_SECONDS = 0.5

EVALUATIONS = "/v1/evaluations"


class BuildJob(Job):
    """A fine-tune or a quantization."""

    name: str
    model: str
    events: list[Event] = Field([])  # absent in lists


AnyJob = TypeVar("AnyJob", bound=Job)


def build(client: httpx.Client, path: str, body: Mapping[str, Any], report_progress: ReportProgress) -> ResultModel:
    """Run a fine-tune or a quantization by POST `path` with `body`, and return its result model.

    If an earlier run has submitted a job with the same name, wait for that job instead. Raises ExperimentError if the
    job fails or is cancelled, and ServerError.
    """
    same = (job for job in walk(client, path, BuildJob) if job.name == body["name"])
    job = next((job for job in same if job.status not in ("failed", "cancelled")), None)
    reused = job is not None and job.over
    if job is None:
        job = submit(client, path, body, BuildJob, answered_before=True)
    job = _finished(client, path, get(client, f"{path}/{job.id}", BuildJob), report_progress)
    return ResultModel(
        name=job.name,
        job_id=job.id,
        base=job.model,
        parameters={key: value for key, value in body.items() if key not in ("name", "model", "dataset")},
        seconds=seconds(job),
        reused=reused,
        events=job.events,
    )


def evaluate(client: httpx.Client, body: Mapping[str, Any], report_progress: ReportProgress) -> Evaluation:
    """Run an evaluation by POST /v1/evaluations with `body`, and return it. Every run evaluates again.

    Raises ExperimentError if the job fails or is cancelled, and ServerError. KeyboardInterrupt cancels the job, because
    no later run would use it.
    """
    job = submit(client, EVALUATIONS, body, Evaluation, answered_before=True)
    try:
        return _finished(client, EVALUATIONS, job, report_progress)
    except KeyboardInterrupt:
        with contextlib.suppress(httpx.HTTPError):
            client.post(f"/v1/jobs/{job.id}/cancel")
        raise


def predictions(client: httpx.Client, evaluation_id: str) -> list[Prediction]:
    """Return all predictions of an evaluation in the order of its rows. Raises ServerError."""
    return list(walk(client, f"{EVALUATIONS}/{evaluation_id}/predictions", Prediction))


def seconds(job: Job) -> float | None:
    """Return the duration of the job's last attempt in seconds, or None if it has not finished."""
    if job.started_at is None or job.finished_at is None:
        return None
    return (job.finished_at - job.started_at).total_seconds()


def _finished(client: httpx.Client, path: str, job: AnyJob, report_progress: ReportProgress) -> AnyJob:
    while not job.over:
        report_progress(_fraction(job), _state(job))
        time.sleep(POLL_SECONDS)
        job = get(client, f"{path}/{job.id}", type(job))
    if job.status != "succeeded":
        raise ExperimentError(f"the job {job.id} {job.ending}")
    return job


def _fraction(job: Job) -> float:
    if isinstance(job, Evaluation):
        return job.rows_done / job.rows
    return (job.percent_done or 0) / 100


def _state(job: Job) -> str:
    if not job.remaining_seconds:
        return job.state
    return f"{job.state}, {timedelta(seconds=round(job.remaining_seconds))} left"
