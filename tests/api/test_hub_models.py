"""Hub models are looked up when they are registered, on a local server that speaks the hub's protocol."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from models.loading.model_files import BUNDLED_MODELS
from pagewright.cli.up.parts import free_port
from tests.api.helpers import problem
from tests.hub import serve_hub
from tests.hub_patch import answer_at

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = {"name": "some", "source": "hub", "location": "some/model"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder of `some/model`, a copy of the starter, on the hub."""
    folder = tmp_path / "on-the-hub"
    shutil.copytree(BUNDLED_MODELS / "starter", folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    with serve_hub("some/model", folder, COMMIT) as address:
        answer_at(address, monkeypatch, tmp_path / "cache")
        yield folder


def change_config(folder: Path, **fields: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.mark.parametrize("revision", ["main", COMMIT, None])
def test_a_revision_is_resolved_to_its_commit_and_the_files_are_described(
    as_admin: TestClient, hub: Path, revision: str | None
) -> None:
    response = as_admin.post("/v1/models", json=MODEL | {"revision": revision})
    assert response.status_code == 201, response.text
    model = response.json()
    assert (model["revision"], model["commit"], model["note"]) == (revision or "main", COMMIT, None)
    files = model["files"]
    config = json.loads((hub / "config.json").read_text())
    assert (files["architecture"], files["model_type"]) == (config["architectures"][0], config["model_type"])
    assert files["weight_bytes"] == (hub / "model.safetensors").stat().st_size
    assert "transformers-paged if its check passes" in files["served_by"]
    assert as_admin.get(response.headers["Location"]).json() == model


def test_what_the_hub_does_not_have_is_refused_and_the_field_is_named(as_admin: TestClient, hub: Path) -> None:
    answer = as_admin.post("/v1/models", json=MODEL | {"location": "some/other"})
    assert "the hub has no model of this name" in problem(answer, 422, "invalid", field="location")["detail"]
    answer = as_admin.post("/v1/models", json=MODEL | {"revision": "no-such-branch"})
    assert "no-such-branch" in problem(answer, 422, "invalid", field="revision")["detail"]


@pytest.mark.parametrize(
    ("changes", "removed", "says"),
    [
        ({"architectures": ["BertForMaskedLM"]}, [], "BertForMaskedLM does not continue texts"),
        ({"model_type": "unheard-of", "auto_map": {"AutoConfig": "x.C"}}, [], "needs code from its repository"),
        ({"model_type": "t5"}, [], "no language model of the type t5"),
        ({"quantization_config": {"quant_method": "awq"}}, [], "quantized by awq"),
        ({}, ["config.json"], "GGUF is not loaded"),
        ({}, ["model.safetensors"], "it has model.gguf"),
    ],
)
def test_a_model_that_no_worker_can_load_is_refused(
    as_admin: TestClient, hub: Path, changes: dict[str, Any], removed: list[str], says: str
) -> None:
    change_config(hub, **changes)
    (hub / "model.gguf").touch()
    for name in removed:
        (hub / name).unlink()
    answer = as_admin.post("/v1/models", json=MODEL)
    assert says in problem(answer, 422, "invalid", field="location")["detail"]


def test_while_the_hub_is_unreachable_a_model_is_registered_with_a_note(
    as_admin: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answer_at(f"http://127.0.0.1:{free_port()}", monkeypatch, tmp_path / "cache")
    for number, (revision, commit) in enumerate([("main", None), (COMMIT, COMMIT)]):
        answer = as_admin.post("/v1/models", json=MODEL | {"name": f"m{number}", "revision": revision})
        assert answer.status_code == 201, answer.text
        assert (answer.json()["commit"], answer.json()["files"]) == (commit, None)
        assert "did not answer" in answer.json()["note"]


def test_only_hub_models_are_pulled(as_admin: TestClient, hub: Path) -> None:
    problem(as_admin.post("/v1/pulls", json={"model": "starter"}), 422, "invalid", field="model")
    assert as_admin.post("/v1/models", json=MODEL).status_code == 201
    pull = as_admin.post("/v1/pulls", json={"model": "some"})
    assert pull.status_code == 202, pull.text
    assert (pull.json()["kind"], pull.json()["model"], pull.json()["commit"]) == ("pull", "some", COMMIT)
    assert as_admin.get(pull.headers["Location"]).json()["bytes_total"] is None
