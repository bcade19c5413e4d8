"""Evaluation jobs: predict the rows that have no prediction yet, score and store them, then compute overall scores."""

import time
import uuid
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path

from sqlalchemy.orm import Session

from db.queries import datasets, evaluations, predictions
from db.session import now
from db.tables.evaluations import Prediction
from db.vocabulary import JobKind, Split
from models.prompts.chat import Prompter
from models.prompts.extraction import extract_page, tokens_around_page
from models.prompts.rows import read_rows
from models.prompts.templates import default_extract
from models.scoring.baselines import fit_baseline
from models.scoring.chrf import SIGNATURE as CHRF_SIGNATURE
from models.scoring.metrics import Scores
from models.serving.engine import Engine
from pagewright import statistics
from workers.inference.engines import borrow_engine
from workers.inference.predicting import Answer, NumberedRow, longest_reference, predict_by_baseline, predict_by_engine
from workers.inference.scoring import score_in_process
from workers.jobs import AttemptFailed, job
from workers.leases import Interrupt, Lease
from workers.prompting import prompt_options
from workers.runtime import Runtime

MAX_UNSCORED = 512
"""Completions that may wait for their scores. When there are more, the engine gets no new rows."""

SCORES_GROWTH = 1.25
SCORES_SECONDS = 2.0
"""A running evaluation's overall scores are updated when its rows have grown by this factor and this time has passed.

With the factor, all updates together cost only a few times as much as computing the overall scores once.
"""


@job(JobKind.EVALUATION)
def evaluate(runtime: Runtime, leases: list[Lease]) -> None:
    [lease] = leases
    try:
        _Attempt(runtime, lease).run()
    except BrokenProcessPool as error:
        raise AttemptFailed("a process that scores completions died") from error
    interrupt = lease.interrupted
    if interrupt is not None and not interrupt.ends_job:
        runtime.leases.finish(leases, interrupt)
        return
    store = overall_scores(runtime, lease.job_id)
    runtime.leases.finish(leases, interrupt, lambda session, _: store(session))


class _Attempt:
    """One attempt at an evaluation. It keeps the predictions that earlier attempts have stored."""

    def __init__(self, runtime: Runtime, lease: Lease) -> None:
        self._runtime = runtime
        self._lease = lease
        with runtime.database.read() as session:
            self._evaluation, self._dataset, self._model = evaluations.get_with_model(session, lease.job_id)
            self._stored_before = predictions.rows_done(session, lease.job_id)
        self._extract: str | None = None
        self._engine: Engine | None = None  # of this attempt; a baseline has none
        self._done = self._rows_in_scores = len(self._stored_before)
        self._started_at = self._scores_at = time.monotonic()

    def run(self) -> None:
        """Predict and score the remaining rows, until all are done or the lease is interrupted."""
        evaluation, runtime = self._evaluation, self._runtime
        folder = runtime.artifacts.local_folder(datasets.artifact(self._dataset.sha256))
        file = folder / f"{evaluation.split}.parquet"
        remaining = ((number, row) for number, row in self._rows(file) if number not in self._stored_before)
        if self._model is None:
            baseline = fit_baseline(evaluation.model_name, folder / f"{Split.TRAIN}.parquet")
            self._score(predict_by_baseline(baseline, remaining, in_train=evaluation.split == Split.TRAIN))
            return
        with borrow_engine(runtime, self._model, evaluation.load, [self._lease]) as engine:
            self._engine = engine
            prompter = Prompter(engine.tokenizer, prompt_options(runtime, evaluation, self._model), engine.end)
            self._extract = evaluation.extract or default_extract(prompter.template.name)
            limit = evaluation.max_new_tokens
            if limit is None:
                limit = longest_reference(engine, self._rows(file)) + tokens_around_page(self._extract)
            choices = partial(
                evaluations.set_choices,
                job_id=self._lease.job_id,
                max_new_tokens=limit,
                template=prompter.template.name,
                template_text=prompter.template.text,
                extract=self._extract,
                engine=self._with_earlier(evaluation.engine, engine.name),
                engine_version=self._with_earlier(evaluation.engine_version, engine.version),
            )
            self._save(choices, self._done)
            self._score(predict_by_engine(engine, prompter, evaluation, limit, remaining))

    def _with_earlier(self, earlier: str | None, own: str) -> str:
        """Return what this attempt has, after what earlier attempts had if there are predictions of theirs."""
        return ", ".join(dict.fromkeys([*(earlier or "").split(", "), own])) if self._stored_before and earlier else own

    def _rows(self, file: Path) -> Iterator[NumberedRow]:
        return enumerate(islice(read_rows(file), self._evaluation.rows))

    def _score(self, batches: Generator[list[Answer]]) -> None:
        scoring: dict[Future[Scores], Answer] = {}
        with closing(batches):
            for answers in batches:
                for answer in answers:
                    page = extract_page(answer.completion, self._extract)
                    scores = score_in_process(page, answer.row.output, self._evaluation.metrics)
                    scoring[scores] = answer
                self._store(scoring, [future for future in scoring if future.done()])
                while len(scoring) > MAX_UNSCORED:
                    wait(scoring, return_when=FIRST_COMPLETED)
                    self._store(scoring, [future for future in scoring if future.done()])
                if self._runtime.leases.draining:
                    self._lease.interrupt(Interrupt.SHUTDOWN)  # another worker continues from the stored rows
                if self._lease.interrupted:
                    break
        wait(scoring)
        self._store(scoring, list(scoring))

    def _store(self, scoring: dict[Future[Scores], Answer], scored: list[Future[Scores]]) -> None:
        new = [self._prediction(scoring.pop(future), future.result()) for future in scored]
        if not new:
            return
        done = self._done + len(new)

        def write(session: Session) -> None:
            moment = now(session)
            for prediction in new:
                prediction.created_at = moment
            predictions.add(session, self._lease.job_id, new)

        if self._save(write, done):
            self._done = done
            self._update_overall_scores()

    def _prediction(self, answer: Answer, scores: Scores) -> Prediction:
        return Prediction(
            job_id=self._lease.job_id,
            row=answer.number,
            context=[{"role": turn.role, "content": turn.content} for turn in answer.row.context] or None,
            prompt=answer.row.instruction,
            input=answer.row.input,
            completion=answer.completion,
            reference=answer.row.output,
            finish_reason=answer.finish_reason,
            error=answer.error,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            latency_seconds=answer.latency_seconds,
            engine=self._engine and self._engine.name,
            engine_version=self._engine and self._engine.version,
            **asdict(scores),
        )

    def _update_overall_scores(self) -> None:
        grown = self._done >= SCORES_GROWTH * self._rows_in_scores
        if grown and time.monotonic() - self._scores_at >= SCORES_SECONDS:
            self._save(overall_scores(self._runtime, self._lease.job_id), self._done)
            self._rows_in_scores, self._scores_at = self._done, time.monotonic()

    def _save(self, write: Callable[[Session], None], done: int) -> bool:
        """Run `write` in a transaction that also stores the progress. Returns False if the lease is lost."""
        new = done - len(self._stored_before)
        remaining = self._evaluation.rows - done
        seconds = (time.monotonic() - self._started_at) / new * remaining if new else None
        return self._runtime.leases.save_progress(self._lease, 100 * done / self._evaluation.rows, seconds, write)


def overall_scores(runtime: Runtime, job_id: uuid.UUID) -> Callable[[Session], None]:
    """Compute the overall scores of the rows that are done, and return the function that stores them.

    They are computed outside of the transaction that stores them, to keep it short.
    """
    with runtime.database.read() as session:
        evaluation, _, _ = evaluations.get_with_model(session, job_id)
        scores = predictions.scores(session, job_id, evaluation.metrics)
    overall = statistics.overall_scores(scores.by_metric, scores.chrf_statistics)
    rows = {metric: asdict(score) for metric, score in overall.items()}
    return lambda session: evaluations.set_overall_scores(session, job_id, rows, CHRF_SIGNATURE)
