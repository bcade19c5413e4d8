"""Evaluation jobs on a worker\'s runtime: with the engine of the starter model, with baselines, and interrupted."""

import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import transformers
from sqlalchemy import select, update

from db import job_transitions
from db.job_transitions import Claim
from db.queries import datasets, evaluations, predictions
from db.queries.evaluations import EvaluationRow
from db.session import Database
from db.tables.datasets import Dataset
from db.tables.evaluations import Evaluation, Prediction
from db.tables.models import Model
from db.vocabulary import ErrorType, JobStatus, QueueName, Split
from models.loading.refs import ModelRef, Source
from models.prompts.chat import Prompter
from models.prompts.rows import Message, Row, read_rows
from models.prompts.templates import build_prompt
from models.scoring.metrics import exact_match
from models.scoring.names import Baseline, Metric
from models.serving.engine import Sampling
from pagewright.artifacts import get_artifacts
from pagewright.settings import get_settings
from tests.adapters import make_adapter
from tests.databases import on_sqlite
from tests.processes import eventually
from tests.workers.conftest import page_rows
from workers import queue
from workers.inference.evaluation import evaluate
from workers.inference.predicting import SHARE, predict_by_engine
from workers.roles import WorkerRole
from workers.runtime import Runtime

STARTER = ModelRef(Source.BUNDLED, "starter", None)
MANY = 80
"""More rows than fit into the batch, so that some are done while others wait."""

Submit = Callable[..., uuid.UUID]
Read = Callable[[uuid.UUID], EvaluationRow]
Rows = Callable[[uuid.UUID], list[Prediction]]


@pytest.fixture
def rows(database: Database) -> Rows:
    def all_of(job_id: uuid.UUID) -> list[Prediction]:
        with database.read() as session:
            return list(session.scalars(select(Prediction).where(Prediction.job_id == job_id).order_by(Prediction.row)))

    return all_of


def values(row: EvaluationRow) -> dict[str, tuple[float, float | None, float | None, int]]:
    return {score.metric: (score.value, score.low, score.high, score.n) for score in row.overall_scores}


def test_every_row_is_predicted_and_scored_and_overall_scores_are_stored(
    runtime: Runtime, submit_evaluation: Submit, read_evaluation: Read, rows: Rows
) -> None:
    job_id = submit_evaluation()
    evaluate(runtime, job_id)
    row = read_evaluation(job_id)
    assert (row.job.status, row.job.percent_done, row.evaluation.rows_done) == (JobStatus.SUCCEEDED, 100, 6)
    stored = rows(job_id)
    with runtime.pool.borrow(STARTER) as engine:
        limit = row.evaluation.max_new_tokens
        assert limit == 1 + max(engine.count_tokens([output for *_, output in page_rows(6)]))
        requests = [
            engine.submit(build_prompt(prompt, ""), Sampling(max_new_tokens=limit)) for prompt, *_ in page_rows(6)
        ]
        expected = [request.future.result() for request in requests]
    assert [prediction.completion for prediction in stored] == [completion.text for completion in expected]
    assert [(prediction.prompt, prediction.input, prediction.reference) for prediction in stored] == page_rows(6)
    assert [prediction.prompt_tokens for prediction in stored] == [completion.prompt_tokens for completion in expected]
    assert all(prediction.latency_seconds > 0 for prediction in stored)
    exact = [exact_match(prediction.completion, prediction.reference) for prediction in stored]
    assert [prediction.exact_match for prediction in stored] == exact
    assert sum(exact) > 0
    assert values(row)["exact_match"][0] == pytest.approx(sum(exact) / 6)
    assert set(values(row)) == set(Metric)
    assert runtime.leases.held() == []


@on_sqlite
@pytest.mark.parametrize("model", ["starter", "baseline:nearest-neighbour"])
def test_the_turns_before_a_chats_last_question_are_stored_with_the_prediction(
    runtime: Runtime, submit_evaluation: Submit, make_dataset: Callable[..., Dataset], rows: Rows, model: str
) -> None:
    (first, _, page), (single, _, other) = page_rows(2)
    turns = (Message("system", "Be brief."), Message("user", first), Message("assistant", page, learn=False))
    dataset = make_dataset([(first, "", page)], test=[Row("Again, please.", "", page, turns), Row(single, "", other)])
    is_model = model == "starter"
    job_id = submit_evaluation(model=model, dataset_id=dataset.id, rows=2, max_new_tokens=5 if is_model else None)
    evaluate(runtime, job_id)
    chat, without = rows(job_id)
    assert chat.context == [{"role": turn.role, "content": turn.content} for turn in turns]
    assert (chat.prompt, chat.reference) == ("Again, please.", page)
    assert (without.context, without.prompt) == (None, single)


@on_sqlite
def test_the_engine_of_each_prediction_is_stored_and_the_evaluation_names_those_of_all_attempts(
    runtime: Runtime, submit_evaluation: Submit, read_evaluation: Read, rows: Rows, database: Database
) -> None:
    def of_evaluation(job_id: uuid.UUID) -> tuple[str | None, str | None]:
        evaluation = read_evaluation(job_id).evaluation
        return evaluation.engine, evaluation.engine_version

    whole, lost, baseline = submit_evaluation(), submit_evaluation(), submit_evaluation(model="baseline:constant")
    version = transformers.__version__
    evaluate(runtime, whole)
    assert of_evaluation(whole) == ("transformers-paged", version)
    assert {(row.engine, row.engine_version) for row in rows(whole)} == {("transformers-paged", version)}

    with database.write() as session:
        [claim] = job_transitions.claim(session, [lost], worker="one that dies", lease_seconds=0.01)
        session.execute(update(Evaluation).where(Evaluation.job_id == lost).values(engine="other", engine_version="1"))
        done = [clone(prediction, lost) for prediction in rows(whole) if prediction.row == 1]
        done[0].engine, done[0].engine_version = "other", "1"
        predictions.add(session, lost, done)
    expire(database, claim)
    evaluate(runtime, lost)
    assert of_evaluation(lost) == ("other, transformers-paged", f"1, {version}")
    assert [row.engine for row in rows(lost)] == ["transformers-paged", "other", *["transformers-paged"] * 4]

    evaluate(runtime, baseline)
    assert of_evaluation(baseline) == (None, None)
    assert {row.engine for row in rows(baseline)} == {None}


@on_sqlite
def test_only_the_requested_rows_are_predicted_and_only_the_requested_metrics_scored(
    runtime: Runtime, submit_evaluation: Submit, read_evaluation: Read, rows: Rows
) -> None:
    job_id = submit_evaluation(limit=2, rows=2, metrics=["validity"], max_new_tokens=5)
    evaluate(runtime, job_id)
    assert set(values(read_evaluation(job_id))) == {"validity"}
    stored = rows(job_id)
    assert [prediction.row for prediction in stored] == [0, 1]
    assert {(prediction.finish_reason, prediction.completion_tokens) for prediction in stored} == {("length", 5)}
    assert {(prediction.exact_match, prediction.chrf_statistics) for prediction in stored} == {(None, None)}
    assert read_evaluation(job_id).evaluation.max_new_tokens == 5


@on_sqlite
def test_a_model_is_evaluated_with_the_load_options_of_the_job(
    runtime: Runtime, submit_evaluation: Submit, read_evaluation: Read, rows: Rows
) -> None:
    job_id = submit_evaluation(load={"method": "bitsandbytes", "bits": 4})
    with runtime.pool.borrow(replace(STARTER, bitsandbytes=4)) as engine:
        evaluate(runtime, job_id)
        assert engine.statistics().requests_finished == 6
        row = read_evaluation(job_id)
        assert row.job.status == JobStatus.SUCCEEDED
        limit = row.evaluation.max_new_tokens
        requests = [
            engine.submit(build_prompt(prompt, ""), Sampling(max_new_tokens=limit)) for prompt, *_ in page_rows(6)
        ]
        texts = [request.future.result().text for request in requests]
    assert [prediction.completion for prediction in rows(job_id)] == texts


def test_an_evaluation_continues_from_the_rows_of_a_lost_worker_with_the_same_scores(
    runtime: Runtime, submit_evaluation: Submit, read_evaluation: Read, rows: Rows, database: Database
) -> None:
    whole, lost = submit_evaluation(), submit_evaluation()
    evaluate(runtime, whole)
    with database.write() as session:
        [claim] = job_transitions.claim(session, [lost], worker="one that dies", lease_seconds=0.01)
        done = [clone(prediction, lost) for prediction in rows(whole) if prediction.row in (1, 4)]
        done[0].latency_seconds = 123.0
        predictions.add(session, lost, done)
    expire(database, claim)
    evaluate(runtime, lost)
    row = read_evaluation(lost)
    assert (row.job.status, row.job.attempt, row.evaluation.rows_done) == (JobStatus.SUCCEEDED, 2, 6)
    assert [prediction.row for prediction in rows(lost)] == list(range(6))
    assert rows(lost)[1].latency_seconds == 123.0
    assert [prediction.completion for prediction in rows(lost)] == [prediction.completion for prediction in rows(whole)]
    assert values(row) == values(read_evaluation(whole))


@on_sqlite
def test_an_evaluation_whose_rows_are_all_done_only_computes_overall_scores(
    runtime: Runtime, submit_evaluation: Submit, read_evaluation: Read, rows: Rows, database: Database
) -> None:
    whole, lost = submit_evaluation(), submit_evaluation()
    evaluate(runtime, whole)
    with database.write() as session:
        [claim] = job_transitions.claim(session, [lost], worker="one that dies", lease_seconds=0.01)
        predictions.add(session, lost, [clone(prediction, lost) for prediction in rows(whole)])
    expire(database, claim)
    evaluate(runtime, lost)
    assert values(read_evaluation(lost)) == values(read_evaluation(whole))


def test_a_cancelled_evaluation_keeps_its_predictions_and_their_overall_scores(
    runtime: Runtime, submit_evaluation: Submit, read_evaluation: Read, rows: Rows, database: Database
) -> None:
    job_id = submit_evaluation(count=MANY, metrics=["exact_match"])
    interrupt = when_some_are_done(database, job_id, lambda: cancel(runtime, database, job_id))
    evaluate(runtime, job_id)
    interrupt.join()
    row = read_evaluation(job_id)
    done = len(rows(job_id))
    assert row.job.status == JobStatus.CANCELLED
    assert 0 < done < MANY
    assert row.evaluation.rows_done == done
    assert values(row)["exact_match"][3] == done
    assert all(prediction.finish_reason in ("stop", "length") for prediction in rows(job_id))


@on_sqlite
def test_a_draining_worker_gives_an_evaluation_back_with_its_predictions(
    runtime: Runtime, submit_evaluation: Submit, read_evaluation: Read, rows: Rows, database: Database
) -> None:
    job_id = submit_evaluation(count=MANY, metrics=["exact_match"])
    interrupt = when_some_are_done(database, job_id, lambda: setattr(runtime.leases, "draining", True))
    evaluate(runtime, job_id)
    interrupt.join()
    row = read_evaluation(job_id)
    before = len(rows(job_id))
    assert (row.job.status, row.job.max_attempts) == (JobStatus.QUEUED, 4)
    assert 0 < before < MANY
    assert queue.oldest_message(QueueName.EVALUATION) == job_id
    runtime.leases.draining = False
    evaluate(runtime, job_id)
    assert (read_evaluation(job_id).job.status, len(rows(job_id))) == (JobStatus.SUCCEEDED, MANY)


@on_sqlite
def test_a_worker_that_lost_its_lease_stores_no_more_predictions(
    runtime: Runtime, submit_evaluation: Submit, read_evaluation: Read, rows: Rows, database: Database
) -> None:
    job_id = submit_evaluation(count=MANY, metrics=["exact_match"])

    def lose() -> None:
        with database.write() as session:
            job_transitions.requeue(session, [Claim(job_id, 1)], "a test")
            job_transitions.claim(session, [job_id], worker="another", lease_seconds=60)

    interrupt = when_some_are_done(database, job_id, lose)
    evaluate(runtime, job_id)
    interrupt.join()
    row = read_evaluation(job_id)
    assert (row.job.status, row.job.attempt, row.job.worker) == (JobStatus.RUNNING, 2, "another")
    assert len(rows(job_id)) == row.evaluation.rows_done < MANY
    assert runtime.leases.held() == []


@on_sqlite
def test_an_evaluation_over_its_time_limit_fails_and_keeps_its_predictions(
    runtime: Runtime,
    submit_evaluation: Submit,
    read_evaluation: Read,
    rows: Rows,
    database: Database,
    configure: Callable[..., None],
) -> None:
    configure(evaluation_time_limit_seconds=0.01)
    impatient = Runtime(get_settings(), runtime.database, WorkerRole.INFERENCE, runtime.pool)
    job_id = submit_evaluation(count=MANY, metrics=["exact_match"])
    interrupt = when_some_are_done(database, job_id, impatient.leases.heartbeat)
    evaluate(impatient, job_id)
    interrupt.join()
    row = read_evaluation(job_id)
    assert (row.job.status, row.job.error_type) == (JobStatus.FAILED, ErrorType.TIME_LIMIT)
    assert values(row)["exact_match"][3] == len(rows(job_id)) > 0


def test_a_row_whose_prompt_is_too_long_scores_zero_and_says_why(
    runtime: Runtime,
    submit_evaluation: Submit,
    read_evaluation: Read,
    rows: Rows,
    database: Database,
    make_dataset: Callable[..., Dataset],
) -> None:
    dataset = make_dataset([], test=[("page " * 3000, "", "<p>Hi</p>"), *page_rows(1)])
    job_id = submit_evaluation(dataset_id=dataset.id, rows=2)
    evaluate(runtime, job_id)
    too_long, well = rows(job_id)
    assert read_evaluation(job_id).job.status == JobStatus.SUCCEEDED
    assert (too_long.completion, too_long.finish_reason, too_long.exact_match, too_long.chrf) == ("", "error", 0, 0)
    assert too_long.error is not None
    assert "2048" in too_long.error
    assert (well.error, well.finish_reason) == (None, "stop")
    assert values(read_evaluation(job_id))["exact_match"][3] == 2


@pytest.mark.parametrize("baseline", Baseline)
def test_a_baseline_is_evaluated_like_a_model(
    runtime: Runtime, submit_evaluation: Submit, read_evaluation: Read, rows: Rows, baseline: Baseline
) -> None:
    job_id = submit_evaluation(model=baseline)
    evaluate(runtime, job_id)
    row, stored = read_evaluation(job_id), rows(job_id)
    assert (row.job.status, row.evaluation.model_id) == (JobStatus.SUCCEEDED, None)
    outputs = [output for *_, output in page_rows(20)]
    assert all(prediction.completion in outputs for prediction in stored)
    nearest = baseline == Baseline.NEAREST_NEIGHBOUR
    assert values(row)["exact_match"][0] == (
        1.0 if nearest else pytest.approx(sum(p.exact_match or 0 for p in stored) / 6)
    )
    assert len({prediction.completion for prediction in stored}) == (6 if nearest else 1)


@on_sqlite
def test_no_training_row_is_its_own_nearest_neighbour(runtime: Runtime, submit_evaluation: Submit, rows: Rows) -> None:
    job_id = submit_evaluation(model=Baseline.NEAREST_NEIGHBOUR, split=Split.TRAIN)
    evaluate(runtime, job_id)
    assert [prediction.exact_match for prediction in rows(job_id)] == [0.0] * 6


@on_sqlite
def test_an_adapter_is_evaluated_over_its_base(
    runtime: Runtime, submit_evaluation: Submit, rows: Rows, make_model: Callable[..., Model], tmp_path: Path
) -> None:
    make_model("adapted", files=Path(make_adapter(tmp_path / "adapter")))
    base, adapter = submit_evaluation(limit=2, rows=2), submit_evaluation(model="adapted", limit=2, rows=2)
    for job_id in (base, adapter):
        evaluate(runtime, job_id)
    assert [row.completion for row in rows(base)] != [row.completion for row in rows(adapter)]


@on_sqlite
def test_the_same_seed_gives_the_same_completions_but_different_ones_for_each_row(
    runtime: Runtime, submit_evaluation: Submit, rows: Rows, make_dataset: Callable[..., Dataset]
) -> None:
    dataset = make_dataset([], test=[("Create a page.", "", "<p>Hi</p>")] * 2)
    values = {"dataset_id": dataset.id, "rows": 2, "temperature": 2.0, "max_new_tokens": 30}
    first, again, other = (submit_evaluation(**values, seed=seed) for seed in (2**63 - 1, 2**63 - 1, 5))
    for job_id in (first, again, other):
        evaluate(runtime, job_id)
    texts = [[row.completion for row in rows(job_id)] for job_id in (first, again, other)]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0][0] != texts[0][1]


def test_a_missing_model_fails_the_job_and_a_missing_dataset_file_costs_an_attempt(
    runtime: Runtime,
    submit_evaluation: Submit,
    read_evaluation: Read,
    database: Database,
    make_model: Callable[..., Model],
) -> None:
    gone = make_model("gone")
    runtime.artifacts.delete(gone.location)
    no_model = submit_evaluation(model="gone")
    evaluate(runtime, no_model)
    assert (read_evaluation(no_model).job.status, read_evaluation(no_model).job.error_type) == (
        JobStatus.FAILED,
        ErrorType.MODEL_UNAVAILABLE,
    )
    no_rows = submit_evaluation(count=7, max_attempts=1)
    get_artifacts().delete(datasets.artifact("pages-7"))
    evaluate(runtime, no_rows)
    failed = read_evaluation(no_rows).job
    assert (failed.status, failed.error_type) == (JobStatus.FAILED, ErrorType.ATTEMPTS_EXHAUSTED)
    assert failed.error_message is not None
    assert "datasets/pages-7" in failed.error_message


@on_sqlite
def test_a_dead_engine_costs_an_attempt_and_no_predictions(
    runtime: Runtime, submit_evaluation: Submit, read_evaluation: Read, rows: Rows, database: Database
) -> None:
    job_id = submit_evaluation(count=MANY, metrics=["exact_match"])
    with runtime.pool.borrow(STARTER) as engine:
        death = when_some_are_done(database, job_id, engine.close)
        evaluate(runtime, job_id)
        death.join()
    assert (read_evaluation(job_id).job.status, read_evaluation(job_id).job.attempt) == (JobStatus.QUEUED, 1)
    kept = len(rows(job_id))
    assert 0 < kept < MANY
    evaluate(runtime, job_id)
    assert (read_evaluation(job_id).job.status, len(rows(job_id))) == (JobStatus.SUCCEEDED, MANY)


@on_sqlite
def test_an_evaluation_leaves_a_share_of_the_batch_free_and_yields_to_other_requests(
    runtime: Runtime, submit_evaluation: Submit, database: Database
) -> None:
    job_id = submit_evaluation(count=200)
    with database.read() as session:
        evaluation, dataset, _ = evaluations.get_with_model(session, job_id)
    file = runtime.artifacts.local_folder(datasets.artifact(dataset.sha256)) / "test.parquet"
    with runtime.pool.borrow(STARTER) as engine:
        slots = engine.slots
        answers = predict_by_engine(engine, Prompter(engine.tokenizer), evaluation, 400, enumerate(read_rows(file)))
        next(answers)
        alone = engine.pending
        others = [engine.submit("page", Sampling(max_new_tokens=400, temperature=50.0, seed=n)) for n in range(slots)]
        done = 0
        while done <= alone:
            done += len(next(answers))
        beside = engine.pending - sum(not other.future.done() for other in others)
        answers.close()
        for other in others:
            other.cancel()
    assert alone <= slots - slots // SHARE
    assert 0 < beside <= slots // SHARE


def clone(prediction: Prediction, job_id: uuid.UUID) -> Prediction:
    columns = {column.key: getattr(prediction, column.key) for column in Prediction.__mapper__.columns}
    return Prediction(**columns | {"job_id": job_id})


def expire(database: Database, claim: Claim) -> None:
    with database.write() as session:
        assert job_transitions.requeue(session, [claim], "it died")


def cancel(runtime: Runtime, database: Database, job_id: uuid.UUID) -> None:
    with database.write() as session:
        job_transitions.request_cancel(session, job_id)
    runtime.leases.heartbeat()


def when_some_are_done(database: Database, job_id: uuid.UUID, act: Callable[[], object]) -> threading.Thread:
    """Call `act` on a thread once the first predictions are stored."""

    def some_are_done() -> bool:
        with database.read() as session:
            return bool(predictions.rows_done(session, job_id))

    def watch() -> None:
        eventually(some_are_done, "the first predictions", pause=0.02)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread
