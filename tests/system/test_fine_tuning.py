"""Fine-tuning from end to end, as on a fresh machine: all of it over HTTP, against `pagewright up`."""

import json
from pathlib import Path

import httpx
import psutil
import pytest

from tests.processes import LIMIT_SECONDS, eventually
from tests.server import answer, finished

pytestmark = pytest.mark.long

PAGE = '<!DOCTYPE html><html lang="en"><head><title>Shop {0}</title></head><body><h1>Shop {0}</h1></body></html>'
ROWS = [{"instruction": f"Create the page of shop {number}.", "output": PAGE.format(number)} for number in range(12)]


def generated(client: httpx.Client, model: str) -> str:
    body = {"model": model, "prompt": ROWS[3]["instruction"], "max_new_tokens": 100}
    job = answer(client.post("/v1/generations", json=body), 202)
    return str(finished(client, f"/v1/generations/{job['id']}")["completion"])


def test_a_dataset_goes_in_and_an_adapter_comes_out_and_serves_though_its_worker_is_killed(
    up: tuple[psutil.Process, httpx.Client], tmp_path: Path
) -> None:
    supervisor, client = up
    rows = "\n".join(json.dumps(row) for row in ROWS).encode()
    upload = client.post(
        "/v1/datasets", data={"name": "shops", "test_fraction": "0.25"}, files={"file": ("shops.jsonl", rows)}
    )
    dataset = answer(upload, 201)
    assert (dataset["train_rows"], dataset["test_rows"], dataset["overlapping_rows"]) == (9, 3, 0)

    training = {"max_steps": 30, "save_steps": 5, "eval_steps": 15, "learning_rate": 5e-3, "warmup_steps": 0}
    training |= {"per_device_train_batch_size": 9, "gradient_accumulation_steps": 1}
    request = {"model": "starter", "dataset": "shops", "name": "shops", "training": training}
    job = answer(client.post("/v1/fine-tunes", json=request), 202)
    path = f"/v1/fine-tunes/{job['id']}"
    generated(client, "starter")  # the base is loaded, and its engine runs, before the adapter is there

    eventually(lambda: (client.get(path).json()["checkpoint_step"] or 0) >= 5, "a checkpoint")
    [worker] = [child for child in supervisor.children() if "build" in child.cmdline()]
    tasks = worker.children()
    worker.kill()
    eventually(lambda: not any(task.is_running() for task in tasks), "the end of what the killed worker had started")

    losses, kinds = [], set()
    with client.stream("GET", f"/v1/jobs/{job['id']}/events", timeout=LIMIT_SECONDS) as stream:
        kind = ""
        for line in stream.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
                kinds.add(kind)
            elif line.startswith("data: ") and kind == "step":
                losses.append(json.loads(line.removeprefix("data: "))["loss"])
    assert kinds >= {"step", "job"}
    assert losses[-1] < 0.2 * losses[0]

    job = answer(client.get(path), 200)
    assert (job["status"], job["attempt"], job["percent_done"]) == ("succeeded", 2, 100)
    curve = client.get(f"{path}/steps").json()["items"]
    assert [step["step"] for step in curve] == list(range(1, 31))
    assert curve[29]["eval_loss"] is not None
    assert generated(client, "shops") == PAGE.format(3)
    assert generated(client, "starter") != PAGE.format(3)

    archive = client.get(f"/v1/models/{job['result_model_id']}/download")
    assert archive.headers["Content-Type"] == "application/x-tar"
    assert client.delete(f"/v1/datasets/{dataset['id']}").status_code == 204
    left = [path for path in (tmp_path / "data").rglob("*") if "checkpoints" in path.parts or "work" in path.parts]
    assert [path for path in left if path.is_file()] == []
