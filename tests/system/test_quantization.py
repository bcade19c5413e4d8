"""Quantization from end to end, as on a fresh machine: all of it over HTTP, against `pagewright up`."""

import httpx
import psutil
import pytest

import models.starter
from tests.server import answer, finished

pytestmark = pytest.mark.long

HELD_OUT = models.starter.HELD_OUT.read_text().splitlines()
ROWS = HELD_OUT[:: len(HELD_OUT) // 40][:40]
OPTIONS = {"bits": 4, "group_size": 64, "samples": 16}
TRAINING = {"max_steps": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "save_steps": None}


def test_a_model_is_quantized_reported_on_evaluated_trained_on_and_served(
    up: tuple[psutil.Process, httpx.Client],
) -> None:
    _, client = up
    upload = {"data": {"name": "pages", "test_fraction": "0.2"}, "files": {"file": ("pages.jsonl", "\n".join(ROWS))}}
    answer(client.post("/v1/datasets", **upload), 201)  # type: ignore[arg-type]
    request = {"model": "starter", "dataset": "pages", "name": "smaller", "options": OPTIONS, "report_rows": 4}
    job = finished(client, f"/v1/quantizations/{answer(client.post('/v1/quantizations', json=request), 202)['id']}")
    report = {variant["variant"]: variant for variant in job["report"]}
    for name in ("original", "gptq", "bitsandbytes-8", "bitsandbytes-4"):
        assert report[name]["error"] is None, report[name]
        assert report[name]["rows"] == 4
    assert report["gptq"]["disk_bytes"] < report["original"]["disk_bytes"]
    assert report["gptq"]["perplexity"] < 2 * report["original"]["perplexity"]
    assert job["modules"]

    scores = {}
    for model, load in (("starter", None), ("smaller", None), ("starter", {"method": "bitsandbytes", "bits": 4})):
        body = {"model": model, "dataset": "pages", "limit": 4, "load": load}
        path = f"/v1/evaluations/{answer(client.post('/v1/evaluations', json=body), 202)['id']}"
        scores[model, bool(load)] = finished(client, path)["scores"]["chrf"]["value"]
    assert scores["smaller", False] > 0.5 * scores["starter", False] > 0

    body = {"model": "smaller", "dataset": "pages", "name": "adapter", "training": TRAINING}
    finished(client, f"/v1/fine-tunes/{answer(client.post('/v1/fine-tunes', json=body), 202)['id']}")
    for model in ("smaller", "adapter"):
        body = {"model": model, "prompt": "Create a page with a heading.", "max_new_tokens": 20}
        job = finished(client, f"/v1/generations/{answer(client.post('/v1/generations', json=body), 202)['id']}")
        assert job["completion_tokens"] == 20
