"""The experiment's jobs: submitted, or found where an earlier run left them, and waited for."""

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
from pagewright.cli.experiment.progress import Tell
from pagewright.cli.experiment.results import Event, Made, Prediction

POLL_SECONDS = 0.5

EVALUATIONS = "/v1/evaluations"


class MakingJob(Job):
    """A fine-tune or a quantization: a job that makes a model."""

    name: str
    model: str
    events: list[Event] = Field([])  # not in lists


AnyJob = TypeVar("AnyJob", bound=Job)


def make(client: httpx.Client, path: str, body: Mapping[str, Any], tell: Tell) -> Made:
    """Have the server make the model that `body`, the one of a POST to `path`, asks for by its name.

    One that an earlier run made, or began to make, under that name is taken. Raises ExperimentError if the job fails
    or is cancelled, and ServerError.
    """
    same = (job for job in walk(client, path, MakingJob) if job.name == body["name"])
    job = next((job for job in same if job.status not in ("failed", "cancelled")), None)
    reused = job is not None and job.over
    if job is None:
        job = submit(client, path, body, MakingJob, answered_before=True)
    job = _finished(client, path, get(client, f"{path}/{job.id}", MakingJob), tell)
    return Made(
        name=job.name,
        job_id=job.id,
        base=job.model,
        parameters={key: value for key, value in body.items() if key not in ("name", "model", "dataset")},
        seconds=seconds(job),
        reused=reused,
        events=job.events,
    )


def evaluate(client: httpx.Client, body: Mapping[str, Any], tell: Tell) -> Evaluation:
    """Have the server evaluate what `body`, the one of a POST to /v1/evaluations, asks for.

    That is measured anew by each run. Raises ExperimentError if the job fails or is cancelled, and ServerError. A
    KeyboardInterrupt cancels the job: nobody would look for it.
    """
    job = submit(client, EVALUATIONS, body, Evaluation, answered_before=True)
    try:
        return _finished(client, EVALUATIONS, job, tell)
    except KeyboardInterrupt:
        with contextlib.suppress(httpx.HTTPError):
            client.post(f"/v1/jobs/{job.id}/cancel")
        raise


def predictions(client: httpx.Client, evaluation_id: str) -> list[Prediction]:
    """Every row of an evaluation, in order. Raises ServerError."""
    return list(walk(client, f"{EVALUATIONS}/{evaluation_id}/predictions", Prediction))


def seconds(job: Job) -> float | None:
    """How long the job's last attempt took."""
    if job.started_at is None or job.finished_at is None:
        return None
    return (job.finished_at - job.started_at).total_seconds()


def _finished(client: httpx.Client, path: str, job: AnyJob, tell: Tell) -> AnyJob:
    while not job.over:
        tell(_fraction(job), _state(job))
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
