"""Evaluation jobs: predict the rows that are not done yet, score and store them as they come, then sum up."""

import logging
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from sqlalchemy.orm import Session

from db.queries import datasets, evaluations, predictions
from db.session import now
from db.tables.evaluations import Prediction
from db.vocabulary import ErrorType, JobKind, Split
from models.loading.refs import ModelLoadError
from models.prompts.rows import read_rows
from models.scoring.baselines import fit_baseline
from models.scoring.chrf import SIGNATURE as CHRF_SIGNATURE
from models.scoring.metrics import Scores
from models.serving.engine import EngineFailed
from pagewright import statistics
from workers import queue
from workers.celery_app import app
from workers.inference.predicting import Answer, NumberedRow, by_baseline, by_engine, longest_reference
from workers.inference.scoring import BrokenProcessPool, score_apart
from workers.leases import Interrupt, Lease, about_jobs
from workers.model_refs import model_ref
from workers.runtime import Runtime, get_runtime

log = logging.getLogger(__name__)

MAX_UNSCORED = 512
"""Completions that wait for their scores; with more, no new ones are taken from the engine."""

SCORES_GROWTH = 1.25
SCORES_SECONDS = 2.0
"""A running evaluation's overall scores are computed again when its rows have grown by this factor, and at most once in
this many seconds. So their total cost stays within a few times the cost of computing them once."""


@app.task(name=JobKind.EVALUATION.value)
def run(job_ids: list[str]) -> None:
    for job_id in job_ids:
        evaluate(get_runtime(), uuid.UUID(job_id))


def evaluate(runtime: Runtime, job_id: uuid.UUID) -> None:
    """Bring the job, if it is still queued, to its end or back to the queue."""
    leases = runtime.leases
    if leases.draining:
        queue.publish(JobKind.EVALUATION, [job_id])
        return
    claimed = leases.claim([job_id], runtime.settings.evaluation_time_limit_seconds)
    if not claimed:
        return
    [lease] = claimed
    with about_jobs(claimed):
        _try(runtime, lease)


def _try(runtime: Runtime, lease: Lease) -> None:
    leases = runtime.leases
    try:
        _Evaluation(runtime, lease).run()
        _end(runtime, lease)
    except ModelLoadError as error:
        leases.fail([lease], ErrorType.MODEL_UNAVAILABLE, str(error))
    except EngineFailed as error:
        leases.requeue([lease], str(error))
    except BrokenProcessPool:
        leases.requeue([lease], "a process that scores pages died")
    except Exception as error:
        # What the code here does not foresee must not strand the job until its lease runs out.
        log.exception("job %s failed in an unforeseen way", lease.job_id)
        if lease in leases.held():
            leases.requeue([lease], f"{type(error).__name__}: {error}")


class _Evaluation:
    """One attempt at an evaluation."""

    def __init__(self, runtime: Runtime, lease: Lease) -> None:
        self._runtime = runtime
        self._lease = lease
        with runtime.database.read() as session:
            self._asked, self._dataset, self._model = evaluations.work(session, lease.job_id)
            self._known = predictions.rows_done(session, lease.job_id)
        self._done = self._scored_rows = len(self._known)
        self._start = self._scored_at = time.monotonic()

    def run(self) -> None:
        """Predict and score what is left, until that is done or interrupted."""
        folder = self._runtime.artifacts.local_folder(datasets.artifact(self._dataset.sha256))
        file = folder / f"{self._asked.split}.parquet"
        left = ((number, row) for number, row in self._rows(file) if number not in self._known)
        if self._model is None:
            baseline = fit_baseline(self._asked.model_name, folder / f"{Split.TRAIN}.parquet")
            self._score(by_baseline(baseline, left, in_train=self._asked.split == Split.TRAIN))
            return
        runtime, load = self._runtime, self._asked.load
        ref = model_ref(runtime.database, self._model, runtime.settings, runtime.artifacts, load)
        with self._runtime.pool.borrow(ref) as engine:
            limit = self._asked.max_new_tokens or longest_reference(engine, self._rows(file))
            self._write(lambda session: evaluations.set_token_limit(session, self._lease.job_id, limit))
            self._score(by_engine(engine, self._asked, limit, left))

    def _rows(self, file: Path) -> Iterator[NumberedRow]:
        return enumerate(islice(read_rows(file), self._asked.rows))

    def _score(self, answers: Generator[list[Answer]]) -> None:
        scoring: dict[Future[Scores], Answer] = {}
        with closing(answers):
            for found in answers:
                for answer in found:
                    scoring[score_apart(answer.completion, answer.row.output, self._asked.metrics)] = answer
                self._store(scoring, [future for future in scoring if future.done()])
                while len(scoring) > MAX_UNSCORED:
                    wait(scoring, return_when=FIRST_COMPLETED)
                    self._store(scoring, [future for future in scoring if future.done()])
                if self._runtime.leases.draining:
                    self._lease.interrupt(Interrupt.SHUTDOWN)  # it goes on elsewhere from where it stood
                if self._lease.interrupted:
                    break
        wait(scoring)
        self._store(scoring, list(scoring))

    def _store(self, scoring: dict[Future[Scores], Answer], scored: list[Future[Scores]]) -> None:
        new = [_prediction(self._lease.job_id, scoring.pop(future), future.result()) for future in scored]
        if not new:
            return
        done = self._done + len(new)

        def write(session: Session) -> None:
            moment = now(session)
            for prediction in new:
                prediction.created_at = moment
            predictions.add(session, self._lease.job_id, new)

        if self._write(write, done):
            self._done = done
            self._store_overall_scores()

    def _store_overall_scores(self) -> None:
        """Store the overall scores of the rows that are done, if it is time."""
        moment = time.monotonic()
        grown = self._done >= SCORES_GROWTH * self._scored_rows
        if grown and moment - self._scored_at >= SCORES_SECONDS:
            self._write(summed_up(self._runtime, self._lease.job_id), self._done)
            self._scored_rows, self._scored_at = self._done, time.monotonic()

    def _write(self, write: Callable[[Session], None], done: int | None = None) -> bool:
        """Run a transaction if the lease holds, and note that so many rows are done. Returns whether it holds."""
        done = self._done if done is None else done
        new = done - len(self._known)
        left = self._asked.rows - done
        seconds = (time.monotonic() - self._start) / new * left if new else None
        return self._runtime.leases.go_on(self._lease, 100 * done / self._asked.rows, seconds, write)


def summed_up(runtime: Runtime, job_id: uuid.UUID) -> Callable[[Session], None]:
    """Compute the overall scores of all rows that are done, and return a function that stores them in a transaction."""
    with runtime.database.read() as session:
        asked, _, _ = evaluations.work(session, job_id)
        scores = predictions.scores(session, job_id, asked.metrics)
    overall = statistics.overall_scores(scores.by_metric, scores.chrf_statistics)
    by_metric = {metric: asdict(score) for metric, score in overall.items()}
    return lambda session: evaluations.set_overall_scores(session, job_id, by_metric, CHRF_SIGNATURE)


def _end(runtime: Runtime, lease: Lease) -> None:
    leases = runtime.leases
    if lease.interrupted == Interrupt.LEASE_LOST:
        leases.lose([lease])
        return
    if lease.interrupted == Interrupt.SHUTDOWN:
        leases.give_back([lease])
        return
    store = summed_up(runtime, lease.job_id)

    def write(session: Session, _: set[uuid.UUID]) -> None:
        store(session)

    if lease.interrupted == Interrupt.CANCELLED:
        leases.cancel([lease], write)
    elif lease.interrupted == Interrupt.TIME_LIMIT:
        limit = runtime.settings.evaluation_time_limit_seconds
        leases.fail([lease], ErrorType.TIME_LIMIT, f"not done {limit:g} seconds after its claim", write)
    else:
        leases.succeed([lease], write)


def _prediction(job_id: uuid.UUID, answer: Answer, scores: Scores) -> Prediction:
    return Prediction(
        job_id=job_id,
        row=answer.number,
        prompt=answer.row.instruction,
        input=answer.row.input,
        completion=answer.completion,
        reference=answer.row.output,
        finish_reason=answer.finish_reason,
        error=answer.error,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        latency_seconds=answer.latency_seconds,
        **asdict(scores),
    )
