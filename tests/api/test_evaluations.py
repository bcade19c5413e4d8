"""Evaluations over HTTP: submitting, reading predictions, comparing, the leaderboard."""

import csv
import io
import json
import uuid
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from db import job_transitions
from db.queries import evaluations, predictions
from db.session import Database, now
from db.tables.datasets import Dataset
from db.tables.evaluations import Prediction
from models.scoring.chrf import SIGNATURE as CHRF_SIGNATURE
from models.scoring.metrics import score
from models.scoring.names import Metric
from pagewright import statistics
from tests.api.conftest import Worker
from tests.api.helpers import problem, stored, walk

EVALUATIONS = "/v1/evaluations"
REQUEST = {"model": "starter", "dataset": "pages"}


def page(title: str) -> str:
    return f"<!DOCTYPE html><title>{title}</title><p>{title}</p>"


NAMES = ["apples", "bread", "cheese", "dates", "eggs"]
ROWS = [(f"Create the page of {name}.", f"name: {name}", page(name)) for name in NAMES]
RIGHT = [page(name) for name in NAMES]
MIXED = [page("apples"), " " + page("bread") + "\n", page("cheddar"), "<p>dates", ""]
"""Two matches, a page with another text, one without its head, and an empty one."""


@pytest.fixture(autouse=True)
def dataset(make_dataset: Callable[..., Dataset]) -> Dataset:
    return make_dataset(ROWS, test=ROWS)


def create(client: Any, **changes: Any) -> dict[str, Any]:
    response = client.post(EVALUATIONS, json=REQUEST | changes)
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    assert response.headers["Location"] == f"{EVALUATIONS}/{job['id']}"
    return job


Evaluated = Callable[..., str]


@pytest.fixture
def evaluated(as_user: TestClient, database: Database, worker: Worker) -> Evaluated:
    """Submits an evaluation, scores and stores the completions as its worker would, and returns its id."""

    def evaluate(completions: list[str], end: bool = True, **changes: Any) -> str:
        job = create(as_user, **changes)
        job_id = uuid.UUID(job["id"])
        [claim] = worker.claim(job["id"])
        with database.write() as session:
            rows = [
                Prediction(
                    job_id=job_id,
                    row=number,
                    prompt=prompt,
                    input=input,
                    completion=completion,
                    reference=reference,
                    finish_reason="stop",
                    prompt_tokens=7,
                    completion_tokens=11,
                    latency_seconds=0.5,
                    created_at=now(session),
                    **asdict(score(completion, reference, job["metrics"])),
                )
                for number, ((prompt, input, reference), completion) in enumerate(zip(ROWS, completions, strict=False))
            ]
            predictions.add(session, job_id, rows)
        with database.write() as session:
            scores = predictions.scores(session, job_id, job["metrics"])
            overall = statistics.overall_scores(scores.by_metric, scores.chrf_statistics)
            by_metric = {name: asdict(score) for name, score in overall.items()}
            evaluations.set_overall_scores(session, job_id, by_metric, CHRF_SIGNATURE)
            if end:
                assert job_transitions.succeed(session, [claim])
        return str(job["id"])

    return evaluate


def get(client: TestClient, path: str, **query: Any) -> Any:
    response = client.get(f"{EVALUATIONS}/{path}", params=query)
    assert response.status_code == 200, response.text
    return response.json()


def rows(client: TestClient, evaluation: str, **query: object) -> list[int]:
    return [item["row"] for item in walk(client, f"{EVALUATIONS}/{evaluation}/predictions", **query)]


def test_the_defaults_are_the_whole_test_split_greedy_sampling_and_all_metrics(as_user: TestClient) -> None:
    job = create(as_user)
    assert (job["kind"], job["status"], job["split"], job["limit"]) == ("evaluation", "queued", "test", None)
    assert (job["temperature"], job["max_new_tokens"], job["metrics"]) == (0.0, None, list(Metric))
    assert (job["rows"], job["rows_done"], job["partial"], job["scores"]) == (5, 0, False, {})
    assert create(as_user, limit=3)["rows"] == 3
    assert create(as_user, limit=30)["rows"] == 5


def test_a_repeated_idempotency_key_returns_the_same_evaluation(as_user: TestClient) -> None:
    headers = {"Idempotency-Key": "once"}
    first = as_user.post(EVALUATIONS, json=REQUEST, headers=headers).json()
    assert as_user.post(EVALUATIONS, json=REQUEST, headers=headers).json()["id"] == first["id"]
    again = as_user.post(EVALUATIONS, json=REQUEST | {"limit": 1}, headers=headers)
    problem(again, 409, "idempotency-conflict")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"model": "nobody"}, "model"),
        ({"model": "baseline:luck"}, "model"),
        ({"dataset": "nowhere"}, "dataset"),
        ({"split": "validation"}, "split"),
        ({"limit": 0}, "limit"),
        ({"metrics": []}, "metrics"),
        ({"metrics": ["bleu"]}, "metrics[0]"),
        ({"metrics": ["chrf", "chrf"]}, "metrics"),
        ({"temperature": 3}, "temperature"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"rows": 5}, "rows"),
        ({"load": {"method": "bitsandbytes", "bits": 16}}, "load.bits"),
        ({"load": {"bits": 4}}, "load.method"),
        ({"model": "baseline:constant", "load": {"method": "bitsandbytes", "bits": 4}}, "load"),
    ],
)
def test_an_invalid_request_is_refused_and_the_field_is_named(
    as_user: TestClient, database: Database, changes: dict[str, Any], field: str
) -> None:
    problem(as_user.post(EVALUATIONS, json=REQUEST | changes), 422, "invalid", field)
    assert stored(database)[0] == 0


def test_a_split_without_rows_is_refused(as_user: TestClient, make_dataset: Callable[..., Dataset]) -> None:
    make_dataset(ROWS, name="untested")
    problem(as_user.post(EVALUATIONS, json=REQUEST | {"dataset": "untested"}), 422, "invalid", "split")


def test_a_baseline_cannot_generate_and_its_prefix_is_reserved(as_user: TestClient, as_admin: TestClient) -> None:
    assert create(as_user, model="baseline:constant")["model"] == "baseline:constant"
    generation = as_user.post("/v1/generations", json={"model": "baseline:constant", "prompt": "Hi"})
    problem(generation, 422, "invalid", "model")
    named = {"name": "baseline:mine", "source": "bundled", "location": "starter"}
    problem(as_admin.post("/v1/models", json=named), 422, "invalid", "name")


def test_everyone_can_read_results_and_only_the_owner_can_cancel(
    as_user: TestClient, as_other_user: TestClient, evaluated: Evaluated
) -> None:
    evaluation = evaluated(MIXED)
    assert get(as_other_user, evaluation)["id"] == evaluation
    assert len(rows(as_other_user, evaluation)) == 5
    assert [item["id"] for item in walk(as_other_user, EVALUATIONS)] == [evaluation]
    problem(as_other_user.post(f"/v1/jobs/{evaluation}/cancel"), 404, "not-found")
    problem(as_user.get(f"{EVALUATIONS}/{uuid.uuid4()}"), 404, "not-found")
    problem(as_user.get(f"{EVALUATIONS}/{uuid.uuid4()}/predictions"), 404, "not-found")


def test_an_evaluation_shows_the_overall_scores_of_its_rows(as_user: TestClient, evaluated: Evaluated) -> None:
    evaluation = get(as_user, evaluated(MIXED))
    assert (evaluation["rows"], evaluation["rows_done"], evaluation["partial"]) == (5, 5, False)
    assert list(evaluation["scores"]) == list(Metric)
    exact = evaluation["scores"]["exact_match"]
    assert (exact["value"], exact["n"]) == (0.4, 5)
    assert 0 <= exact["low"] < 0.4 < exact["high"] <= 1
    assert evaluation["scores"]["validity"]["value"] == 0.6
    assert 0 < evaluation["scores"]["chrf"]["value"] < 100
    assert evaluation["chrf_signature"] == CHRF_SIGNATURE


def test_a_running_evaluation_shows_the_rows_done_so_far(as_user: TestClient, evaluated: Evaluated) -> None:
    evaluation = evaluated(MIXED[:2], end=False)
    shown = get(as_user, evaluation)
    assert (shown["status"], shown["rows_done"], shown["partial"]) == ("running", 2, False)
    assert shown["scores"]["exact_match"]["value"] == 1.0
    assert rows(as_user, evaluation) == [0, 1]


def test_metrics_that_were_not_requested_are_null(as_user: TestClient, evaluated: Evaluated) -> None:
    evaluation = evaluated(MIXED, metrics=["validity", "exact_match"])
    assert get(as_user, evaluation)["metrics"] == ["exact_match", "validity"]
    [first, *_] = get(as_user, f"{evaluation}/predictions")["items"]
    assert (first["exact_match"], first["validity"], first["parse_errors"]) == (1.0, 1.0, 0)
    assert (first["chrf"], first["structural_similarity"]) == (None, None)


def test_a_prediction_shows_its_row_completion_and_scores(as_user: TestClient, evaluated: Evaluated) -> None:
    [item] = get(as_user, f"{evaluated(MIXED)}/predictions", limit=1, after=0)["items"]
    assert (item["row"], item["prompt"], item["input"]) == (1, ROWS[1][0], ROWS[1][1])
    assert (item["completion"], item["reference"]) == (MIXED[1], ROWS[1][2])
    assert (item["finish_reason"], item["error"]) == ("stop", None)
    assert (item["prompt_tokens"], item["completion_tokens"], item["latency_seconds"]) == (7, 11, 0.5)
    assert (item["exact_match"], item["chrf"]) == (1.0, 100.0)


def test_predictions_can_be_filtered_by_score_and_text(as_user: TestClient, evaluated: Evaluated) -> None:
    evaluation = evaluated(MIXED)
    assert rows(as_user, evaluation, exact_match=False) == [2, 3, 4]
    assert rows(as_user, evaluation, exact_match=True, limit=1) == [0, 1]
    assert rows(as_user, evaluation, valid=False) == [3, 4]
    assert rows(as_user, evaluation, min_chrf=1, max_chrf=99.9) == [2, 3]
    assert rows(as_user, evaluation, min_parse_errors=1) == [3, 4]
    assert rows(as_user, evaluation, max_text_similarity=0) == [4]
    assert rows(as_user, evaluation, text="CHEDDAR") == [2]
    assert rows(as_user, evaluation, text="page of dates") == [3]
    assert rows(as_user, evaluation, text="%") == []
    assert rows(as_user, evaluation, text="e", exact_match=False, min_chrf=1, limit=1) == [2, 3]


def test_predictions_can_be_sorted_by_any_score_across_pages(as_user: TestClient, evaluated: Evaluated) -> None:
    evaluation = evaluated(MIXED)
    for metric in Metric:
        for sort, sign in ((metric.value, 1), (f"-{metric}", -1)):
            everything = get(as_user, f"{evaluation}/predictions", sort=sort)["items"]
            order = sorted((item[metric], item["row"]) for item in everything)[::sign]
            assert [(item[metric], item["row"]) for item in everything] == order
            assert rows(as_user, evaluation, sort=sort, limit=1) == [row for _, row in order]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"sort": "-bleu"}, "sort"),
        ({"sort": "row"}, "sort"),
        ({"min_chrf": "nan"}, "min_chrf"),
        ({"max_chrf": "much"}, "max_chrf"),
        ({"text": ""}, "text"),
        ({"text": "a\0b"}, "text"),
        ({"limit": 101}, "limit"),
        ({"after": -1}, "after"),
        ({"chrf": 3}, "chrf"),
    ],
)
def test_an_invalid_filter_is_refused(
    as_user: TestClient, evaluated: Evaluated, query: dict[str, Any], field: str
) -> None:
    problem(as_user.get(f"{EVALUATIONS}/{evaluated([])}/predictions", params=query), 422, "invalid", field)


def test_exports_have_the_same_rows_as_the_pages(as_user: TestClient, evaluated: Evaluated) -> None:
    evaluation = evaluated(MIXED)
    items = walk(as_user, f"{EVALUATIONS}/{evaluation}/predictions")
    path = f"{EVALUATIONS}/{evaluation}/predictions"
    file = {format: as_user.get(f"{path}.{format}") for format in ("jsonl", "csv", "parquet")}
    assert [json.loads(line) for line in file["jsonl"].text.splitlines()] == items
    table = list(csv.DictReader(io.StringIO(file["csv"].text, newline="")))
    assert [row["completion"] for row in table] == MIXED
    assert [float(row["chrf"]) for row in table] == [item["chrf"] for item in items]
    parquet = pq.read_table(io.BytesIO(file["parquet"].content)).to_pylist()
    assert [row | {"created_at": None} for row in parquet] == [item | {"created_at": None} for item in items]
    assert file["csv"].headers["Content-Type"].startswith("text/csv")
    assert evaluation in file["parquet"].headers["Content-Disposition"]


def test_the_turns_before_a_prompt_are_shown_compared_and_exported(
    as_user: TestClient, evaluated: Evaluated, database: Database
) -> None:
    a, b = evaluated(MIXED), evaluated(RIGHT)
    context = [{"role": "user", "content": 'Say "é",\nplease.'}, {"role": "assistant", "content": "é"}]
    with database.write() as session:
        session.execute(update(Prediction).where(Prediction.row == 2).values(context=context))
    items = walk(as_user, f"{EVALUATIONS}/{a}/predictions")
    assert [item["context"] for item in items] == [None, None, context, None, None]
    changed = get(as_user, "compare", a=a, b=b)["changed"]["items"]
    assert {row["row"]: row["context"] for row in changed} == {2: context, 3: None, 4: None}
    file = {format: as_user.get(f"{EVALUATIONS}/{a}/predictions.{format}") for format in ("jsonl", "csv", "parquet")}
    assert [json.loads(line) for line in file["jsonl"].text.splitlines()] == items
    table = list(csv.DictReader(io.StringIO(file["csv"].text, newline="")))
    assert [json.loads(row["context"]) if row["context"] else None for row in table] == [
        row["context"] for row in items
    ]
    parquet = pq.read_table(io.BytesIO(file["parquet"].content)).to_pylist()
    assert [row["context"] for row in parquet] == [item["context"] for item in items]


def test_an_export_can_be_filtered_and_can_be_empty(as_user: TestClient, evaluated: Evaluated) -> None:
    evaluation = evaluated(MIXED)
    wrong = as_user.get(f"{EVALUATIONS}/{evaluation}/predictions.jsonl", params={"exact_match": False})
    assert [json.loads(line)["row"] for line in wrong.text.splitlines()] == [2, 3, 4]
    none = as_user.get(f"{EVALUATIONS}/{evaluation}/predictions.parquet", params={"text": "nothing like it"})
    assert pq.read_table(io.BytesIO(none.content)).num_rows == 0
    problem(as_user.get(f"{EVALUATIONS}/{evaluation}/predictions.xlsx"), 422, "invalid", "format")
    head = as_user.head(f"{EVALUATIONS}/{evaluation}/predictions.csv")
    assert (head.status_code, head.content) == (200, b"")


def test_an_export_in_several_batches_is_complete(
    as_user: TestClient, evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = evaluated(MIXED)
    monkeypatch.setattr(predictions, "EXPORT_ROWS", 2)
    for format in ("jsonl", "csv"):
        lines = as_user.get(f"{EVALUATIONS}/{evaluation}/predictions.{format}").text.splitlines()
        header, newlines = (1, 2) if format == "csv" else (0, 0)  # a completion and its page end with a newline
        assert len(lines) == header + 5 + newlines
    table = pq.read_table(io.BytesIO(as_user.get(f"{EVALUATIONS}/{evaluation}/predictions.parquet").content))
    assert table["row"].to_pylist() == [0, 1, 2, 3, 4]


def test_evaluations_can_be_filtered_and_sorted_by_any_metric(as_user: TestClient, evaluated: Evaluated) -> None:
    best = evaluated(RIGHT)
    half = evaluated(MIXED)
    constant = evaluated([RIGHT[0]] * 5, model="baseline:constant")
    queued = create(as_user)["id"]

    def listed(**query: object) -> list[str]:
        return [item["id"] for item in walk(as_user, EVALUATIONS, **query)]

    assert listed() == [queued, constant, half, best]
    assert listed(sort="-exact_match", limit=1) == [best, half, constant]
    assert listed(sort="chrf", limit=2)[-1] == best
    assert listed(model="starter", sort="exact_match", limit=1) == [half, best]
    assert listed(model="baseline:constant") == [constant]
    assert listed(status="queued") == [queued]
    assert listed(dataset="pages", limit=3) == [queued, constant, half, best]
    assert listed(dataset="others") == []
    for name in ("sort", "model", "dataset", "status"):
        problem(as_user.get(EVALUATIONS, params={name: "a\0b"}), 422, "invalid", name)


def test_a_comparison_covers_the_rows_that_both_evaluations_have(as_user: TestClient, evaluated: Evaluated) -> None:
    a, b = evaluated(MIXED), evaluated([*RIGHT[:1], "<p>", *RIGHT[2:4]], limit=4)
    comparison = get(as_user, "compare", a=a, b=b)
    assert (comparison["a"], comparison["b"], comparison["rows"]) == (a, b, 4)
    exact = comparison["metrics"]["exact_match"]
    assert (exact["a"], exact["b"], exact["difference"]) == (0.5, 0.75, 0.25)
    assert exact["low"] < 0.25 < exact["high"]
    assert comparison["mcnemar"] == {"only_a": 1, "only_b": 2, "p_value": 1.0}
    changed = comparison["changed"]["items"]
    assert [row["row"] for row in changed] == [1, 2, 3]
    assert (changed[1]["a_completion"], changed[1]["b_completion"]) == (MIXED[2], RIGHT[2])
    assert (changed[1]["a"]["exact_match"], changed[1]["b"]["exact_match"]) == (0.0, 1.0)
    first = get(as_user, "compare", a=a, b=b, limit=2)["changed"]
    assert ([row["row"] for row in first["items"]], first["next"]) == ([1, 2], 2)
    rest = get(as_user, "compare", a=a, b=b, limit=2, after=first["next"])["changed"]
    assert ([row["row"] for row in rest["items"]], rest["next"]) == ([3], None)


def test_an_evaluation_does_not_differ_from_itself(as_user: TestClient, evaluated: Evaluated) -> None:
    a = evaluated(MIXED)
    comparison = get(as_user, "compare", a=a, b=a, metric="chrf")
    assert {(one["difference"], one["low"], one["high"]) for one in comparison["metrics"].values()} == {(0, 0, 0)}
    assert (comparison["mcnemar"]["p_value"], comparison["changed"]["items"]) == (1.0, [])


def test_evaluations_that_cannot_be_compared_are_refused(
    as_user: TestClient, evaluated: Evaluated, make_dataset: Callable[..., Dataset]
) -> None:
    make_dataset(ROWS, name="others", test=ROWS)
    a = evaluated(MIXED)
    elsewhere, train = evaluated(MIXED, dataset="others"), evaluated(MIXED, split="train")
    chrf = evaluated(MIXED, metrics=["chrf"])
    validity = evaluated(MIXED, metrics=["validity"])

    def compare(**query: Any) -> Any:
        return as_user.get(f"{EVALUATIONS}/compare", params=query)

    problem(compare(a=a, b=elsewhere), 422, "invalid", "b")
    problem(compare(a=a, b=train), 422, "invalid", "b")
    problem(compare(a=chrf, b=validity), 422, "invalid", "b")
    problem(compare(a=a, b=chrf), 422, "invalid", "metric")
    problem(compare(a=a, b=uuid.uuid4()), 404, "not-found")
    problem(compare(a=a), 422, "invalid", "b")
    assert compare(a=a, b=chrf, metric="chrf").json()["mcnemar"] is None


def test_a_comparison_without_common_rows_is_empty(as_user: TestClient, evaluated: Evaluated) -> None:
    comparison = get(as_user, "compare", a=evaluated(MIXED), b=evaluated([], end=False))
    assert (comparison["rows"], comparison["metrics"], comparison["changed"]["items"]) == (0, {}, [])


def test_the_leaderboard_shows_the_latest_evaluation_of_each_model_best_first(
    as_user: TestClient, evaluated: Evaluated
) -> None:
    evaluated(RIGHT)
    latest = evaluated(MIXED)
    evaluated(RIGHT, end=False)
    evaluated(RIGHT[:2], limit=2)
    constant = evaluated([RIGHT[0]] * 5, model="baseline:constant")
    leaderboard = as_user.get("/v1/leaderboard", params={"dataset": "pages"}).json()
    assert (leaderboard["dataset"], leaderboard["split"], leaderboard["rows"]) == ("pages", "test", 5)
    assert [(item["model"], item["evaluation_id"]) for item in leaderboard["items"]] == [
        ("starter", latest),
        ("baseline:constant", constant),
    ]
    assert leaderboard["items"][0]["scores"]["exact_match"]["value"] == 0.4
    assert leaderboard["missing_baselines"] == ["baseline:nearest-neighbour"]
    by_structure = as_user.get("/v1/leaderboard", params={"dataset": "pages", "sort": "structural_similarity"}).json()
    assert [item["model"] for item in by_structure["items"]] == ["baseline:constant", "starter"]
    of_two = as_user.get("/v1/leaderboard", params={"dataset": "pages", "rows": 2}).json()
    assert [item["model"] for item in of_two["items"]] == ["starter"]
    problem(as_user.get("/v1/leaderboard"), 422, "invalid", "dataset")
    problem(as_user.get("/v1/leaderboard", params={"dataset": "a\0b"}), 422, "invalid", "dataset")
    problem(as_user.get("/v1/leaderboard", params={"dataset": "nowhere"}), 422, "invalid", "dataset")


def test_the_leaderboard_has_one_item_for_each_set_of_load_options(as_user: TestClient, evaluated: Evaluated) -> None:
    four, eight = ({"method": "bitsandbytes", "bits": bits} for bits in (4, 8))
    evaluated(RIGHT, load=four)
    plain, in_four, in_eight = evaluated(RIGHT), evaluated(MIXED, load=four), evaluated([""] * 5, load=eight)
    assert get(as_user, in_four)["load"] == four
    items = as_user.get("/v1/leaderboard", params={"dataset": "pages"}).json()["items"]
    ranked = [(item["model"], item["load"], item["evaluation_id"]) for item in items]
    assert ranked == [("starter", None, plain), ("starter", four, in_four), ("starter", eight, in_eight)]


def test_a_dataset_cannot_be_deleted_while_an_evaluation_uses_it(
    as_user: TestClient, as_admin: TestClient, dataset: Dataset, evaluated: Evaluated
) -> None:
    done = evaluated(MIXED)
    job = create(as_user)
    problem(as_admin.delete(f"/v1/datasets/{dataset.id}"), 409, "conflict")
    as_user.post(f"/v1/jobs/{job['id']}/cancel")
    assert as_admin.delete(f"/v1/datasets/{dataset.id}").status_code == 204
    assert (get(as_user, done)["dataset"], rows(as_user, done)) == ("pages", [0, 1, 2, 3, 4])


def test_storing_a_row_twice_changes_nothing(database: Database, as_user: TestClient, evaluated: Evaluated) -> None:
    evaluation = evaluated(MIXED, end=False)
    with database.write() as session:
        again = predictions.export(database, uuid.UUID(evaluation), predictions.Filter())
        for batch in list(again):
            predictions.add(session, uuid.UUID(evaluation), batch)
    assert get(as_user, evaluation)["rows_done"] == 5
