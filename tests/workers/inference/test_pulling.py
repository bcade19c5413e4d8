"""Pulls with a real process, from a local server that speaks the hub's protocol."""

import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from fastapi.testclient import TestClient

from models.loading.model_files import BUNDLED_MODELS
from pagewright.cli.up.parts import free_port
from tests.hub import serve_hub
from tests.hub_patch import answer_at
from tests.processes import eventually
from workers.inference.pulling import pull
from workers.leases import Interrupt
from workers.runtime import Runtime

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = {"name": "some", "source": "hub", "location": "some/model"}


@pytest.fixture
def on_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "on-the-hub"
    shutil.copytree(BUNDLED_MODELS / "starter", folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    with serve_hub("some/model", folder, COMMIT) as address:
        answer_at(address, monkeypatch, tmp_path / "cache")
        for name, value in {
            "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": str(tmp_path / "cache"),
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield folder


@pytest.fixture
def submit(as_admin: TestClient, on_hub: Path) -> Callable[[], str]:
    def submit() -> str:
        assert as_admin.post("/v1/models", json=MODEL).status_code == 201
        return str(as_admin.post("/v1/pulls", json={"model": "some"}).json()["id"])

    return submit


def test_a_pull_fills_the_cache_and_stores_its_bytes(
    as_admin: TestClient, runtime: Runtime, submit: Callable[[], str], tmp_path: Path
) -> None:
    id = submit()
    pull(runtime, uuid.UUID(id))
    job = as_admin.get(f"/v1/pulls/{id}").json()
    assert (job["status"], job["percent_done"], job["error"]) == ("succeeded", 100.0, None)
    assert job["bytes_done"] == job["bytes_total"] > 0
    assert list((tmp_path / "cache").rglob("model.safetensors"))


def test_a_pull_of_what_the_hub_no_longer_has_fails_and_says_so(
    as_admin: TestClient, runtime: Runtime, submit: Callable[[], str], on_hub: Path
) -> None:
    id = submit()
    (on_hub / "model.safetensors").unlink()
    pull(runtime, uuid.UUID(id))
    job = as_admin.get(f"/v1/pulls/{id}").json()
    assert (job["status"], job["error"]["type"]) == ("failed", "model-unavailable")
    assert "some/model: the hub's files can't be used" in job["error"]["message"]


def test_a_pull_waits_while_the_hub_is_away(
    as_admin: TestClient,
    runtime: Runtime,
    submit: Callable[[], str],
    on_hub: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    id, port = submit(), free_port()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    thread = threading.Thread(target=pull, args=(runtime, uuid.UUID(id)))
    thread.start()
    eventually(lambda: "it is tried again in" in caplog.text, "the pull finds that the hub is away")
    with serve_hub("some/model", on_hub, COMMIT, port=port):
        thread.join()
    job = as_admin.get(f"/v1/pulls/{id}").json()
    assert (job["status"], job["attempt"]) == ("succeeded", 1)


def test_a_cancelled_pull_ends(as_admin: TestClient, runtime: Runtime, submit: Callable[[], str]) -> None:
    id = submit()
    thread = threading.Thread(target=pull, args=(runtime, uuid.UUID(id)))
    thread.start()
    eventually(lambda: runtime.leases.held(), "the pull is claimed")
    as_admin.post(f"/v1/jobs/{id}/cancel")
    for lease in runtime.leases.held():
        lease.interrupt(Interrupt.CANCELLED)
    thread.join(60)
    assert as_admin.get(f"/v1/pulls/{id}").json()["status"] == "cancelled"


def test_a_branch_that_was_unknown_is_resolved_by_the_worker_which_stores_what_the_files_are(
    as_admin: TestClient, runtime: Runtime, on_hub: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address = huggingface_hub.constants.ENDPOINT
    answer_at(f"http://127.0.0.1:{free_port()}", monkeypatch, tmp_path / "cache")
    model = as_admin.post("/v1/models", json=MODEL | {"revision": "main"}).json()
    assert (model["commit"], model["files"]) == (None, None)
    id = as_admin.post("/v1/pulls", json={"model": "some"}).json()["id"]
    pull(runtime, uuid.UUID(id))
    job = as_admin.get(f"/v1/pulls/{id}").json()
    assert (job["status"], job["attempt"], job["error"]) == ("queued", 1, None), "the hub can't be reached"
    answer_at(address, monkeypatch, tmp_path / "cache")
    pull(runtime, uuid.UUID(id))
    assert as_admin.get(f"/v1/pulls/{id}").json()["status"] == "succeeded"
    model = as_admin.get("/v1/models/some").json()
    assert (model["revision"], model["commit"]) == ("main", COMMIT)
    assert model["files"]["weight_bytes"] == (on_hub / "model.safetensors").stat().st_size
