"""Evaluation from end to end, as on a fresh machine: all of it over HTTP, against `pagewright up`."""

import json
import os
import subprocess
from typing import Any

import httpx
import psutil
import pytest

import models.starter
from tests.processes import COMMAND, eventually
from tests.server import answer, finished

pytestmark = pytest.mark.long

HELD_OUT = models.starter.HELD_OUT.read_text().splitlines()
ROWS = HELD_OUT[:: len(HELD_OUT) // 60][:60]
TRAINING = {"max_steps": 2, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "save_steps": None}


def exported(client: httpx.Client, evaluation: str) -> list[dict[str, Any]]:
    with client.stream("GET", f"/v1/evaluations/{evaluation}/predictions.jsonl") as response:
        return [json.loads(line) for line in response.iter_lines()]


def test_models_and_baselines_are_evaluated_compared_and_exported_though_a_worker_is_killed(
    up: tuple[psutil.Process, httpx.Client],
) -> None:
    supervisor, client = up
    upload = {"data": {"name": "pages", "test_fraction": "0.5"}, "files": {"file": ("pages.jsonl", "\n".join(ROWS))}}
    assert answer(client.post("/v1/datasets", **upload), 201)["test_rows"] == 30  # type: ignore[arg-type]
    adapter = {"model": "starter", "dataset": "pages", "name": "adapter", "training": TRAINING}
    fine_tune = answer(client.post("/v1/fine-tunes", json=adapter), 202)

    def evaluate(model: str) -> str:
        job = answer(client.post("/v1/evaluations", json={"model": model, "dataset": "pages"}), 202)
        return f"/v1/evaluations/{job['id']}"

    killed = evaluate("starter")
    eventually(lambda: client.get(killed).json()["rows_done"] >= 3, "the first predictions")
    assert client.get(f"{killed}/predictions").json()["items"], "a running evaluation's rows are there to read"
    [worker] = [child for child in supervisor.children() if "inference" in child.cmdline()]
    scoring = worker.children()
    worker.kill()
    assert client.get(killed).json()["rows_done"] < 30
    eventually(lambda: not any(process.is_running() for process in scoring), "the end of the killed worker's processes")
    lost = finished(client, killed)
    assert (lost["attempt"], lost["rows_done"], lost["partial"]) == (2, 30, False)

    finished(client, f"/v1/fine-tunes/{fine_tune['id']}")
    paths = {name: evaluate(name) for name in ("starter", "adapter", "baseline:nearest-neighbour", "baseline:constant")}
    found = {name: finished(client, path) for name, path in paths.items()}
    assert found["starter"]["attempt"] == 1
    assert lost["scores"] == found["starter"]["scores"]

    rows = exported(client, found["starter"]["id"])
    assert [row["row"] for row in rows] == list(range(30))
    right = sum(row["completion"].strip() == row["reference"].strip() for row in rows)
    exact = found["starter"]["scores"]["exact_match"]
    assert (exact["n"], round(30 * exact["value"])) == (30, right)
    assert right > 0

    wrong: list[int] = []
    after: dict[str, int] = {}
    while True:
        query = {"exact_match": "false", "limit": 3} | after
        page = client.get(f"{paths['baseline:constant']}/predictions", params=query).json()  # type: ignore[arg-type]
        wrong += [item["row"] for item in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    constant = exported(client, found["baseline:constant"]["id"])
    assert wrong == [row["row"] for row in constant if row["completion"].strip() != row["reference"].strip()] != []

    pair = {"a": found["baseline:nearest-neighbour"]["id"], "b": found["starter"]["id"]}
    compared = answer(client.get("/v1/evaluations/compare", params=pair), 200)
    difference = compared["metrics"]["exact_match"]
    assert compared["rows"] == 30
    assert compared["mcnemar"]["only_b"] - compared["mcnemar"]["only_a"] == round(30 * difference["difference"]) > 0

    board = answer(client.get("/v1/leaderboard", params={"dataset": "pages"}), 200)
    assert {item["model"] for item in board["items"]} == set(paths)
    assert board["missing_baselines"] == []

    key = client.headers["Authorization"].removeprefix("Bearer ")
    environment = os.environ | {"PAGEWRIGHT_SERVER_URL": str(client.base_url), "PAGEWRIGHT_API_KEY": key}
    gate = [*COMMAND, "evaluate", "baseline:constant", "pages", "--limit", "5", "--min"]
    met = subprocess.run([*gate, "chrf=1"], env=environment, capture_output=True, text=True, check=False)
    assert met.returncode == 0, met.stderr
    assert "exact_match" in met.stdout
    missed = subprocess.run([*gate, "exact_match=0.99"], env=environment, capture_output=True, text=True, check=False)
    assert missed.returncode == 1
    assert "exact_match" in missed.stderr + missed.stdout
