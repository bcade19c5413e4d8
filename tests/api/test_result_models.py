"""Models that jobs created: their origin is shown, and they can be downloaded."""

import shutil
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.archive import archive
from db.queries import models
from db.session import Database
from db.tables.models import Model
from db.vocabulary import ModelKind, Role
from models.prompts.templates import build_prompt
from pagewright.artifacts import ArtifactStore, get_artifacts
from tests.adapters import generated, make_adapter, plain_peft
from tests.api.conftest import Server
from tests.api.helpers import problem, submit, walk
from tests.archives import unpack

MakeModel = Callable[..., Model]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return Path(make_adapter(tmp_path / "adapter"))


def test_a_result_model_shows_its_parent_and_options(as_user: TestClient, make_model: MakeModel) -> None:
    model = make_model(name="a-page-maker")
    shown = as_user.get(f"/v1/models/{model.id}").json()
    assert shown["parent"] == "starter"
    assert (shown["source"], shown["kind"], shown["location"]) == ("artifact", "adapter", "models/a-page-maker")
    assert (shown["template"], shown["parameters"]) == ("pagewright-1", {"r": 4})
    assert (shown["dataset_id"], shown["job_id"], shown["revision"]) == (None, None, None)
    [listed, starter] = walk(as_user, "/v1/models")
    assert listed == shown
    assert (starter["kind"], starter["parent"], starter["parameters"]) == ("full", None, None)
    assert submit(as_user, model="a-page-maker")["model"] == "a-page-maker"


def test_an_artifact_cannot_be_registered_by_a_client(as_admin: TestClient, make_model: MakeModel) -> None:
    body = {"name": "mine", "source": "artifact", "location": make_model().location}
    problem(as_admin.post("/v1/models", json=body), 422, "invalid", field="source")


def test_a_result_model_cannot_have_a_used_name(database: Database, make_model: MakeModel) -> None:
    model = make_model()
    columns = {name: getattr(model, name) for name in ("dataset_id", "template", "parameters", "job_id", "parent_id")}
    with database.write() as session:
        again = models.add_result_model(session, name="starter", kind=ModelKind.FULL, location="models/2", **columns)
    assert again is None


def test_a_downloaded_adapter_loads_in_plain_peft(
    as_user: TestClient, make_model: MakeModel, adapter: Path, tmp_path: Path
) -> None:
    model = make_model(name="team/maker:1", files=adapter)
    response = as_user.get(f"/v1/models/{model.id}/download")
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/x-tar"
    assert response.headers["Content-Disposition"] == 'attachment; filename="team_maker_1.tar"'
    assert int(response.headers["Content-Length"]) == len(response.content)
    unpacked = str(unpack(response.content, tmp_path / "unpacked"))
    assert unpacked.endswith("/team_maker_1")
    prompt = build_prompt("Create a page.")
    assert generated(plain_peft(unpacked), prompt, 20) == generated(plain_peft(str(adapter)), prompt, 20)
    assert as_user.get(f"/v1/models/{model.id}/download").content == response.content


def test_an_archive_can_have_empty_large_and_deeply_nested_files(
    tmp_path: Path, as_user: TestClient, make_model: MakeModel
) -> None:
    files = {"empty": b"", "block": bytes(512), "deep/" + "d" * 120 + "/name-é": b"x" * 513, "large": bytes(3_000_000)}
    for name, content in files.items():
        (tmp_path / "kinds" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "kinds" / name).write_bytes(content)
    response = as_user.get(f"/v1/models/{make_model(files=tmp_path / 'kinds').id}/download")
    assert int(response.headers["Content-Length"]) == len(response.content)
    with tarfile.open(fileobj=BytesIO(response.content)) as file:
        members: dict[str, Any] = {member.name: file.extractfile(member) for member in file.getmembers()}
        assert {name.removeprefix("made/"): member.read() for name, member in members.items()} == files
        assert {(member.mtime, member.uid, member.uname) for member in file.getmembers()} == {(0, 0, "")}


def test_head_returns_the_size_without_reading_files(
    server: Server, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/v1/models/{make_model().id}/download"
    with server.client(Role.USER) as client:
        whole = client.get(path)
        monkeypatch.setattr(ArtifactStore, "read", None)
        head = client.head(path)
    assert head.status_code == 200
    assert head.content == b""
    assert {name: head.headers[name] for name in ("Content-Length", "Content-Type", "Content-Disposition")} == {
        name: whole.headers[name] for name in ("Content-Length", "Content-Type", "Content-Disposition")
    }


def test_only_result_models_can_be_downloaded(as_user: TestClient) -> None:
    [starter] = walk(as_user, "/v1/models")
    problem(as_user.get(f"/v1/models/{starter['id']}/download"), 409, "conflict")
    problem(as_user.get("/v1/models/01890000-0000-7000-8000-000000000000/download"), 404, "not-found")


def test_a_download_of_missing_files_is_404(as_user: TestClient, make_model: MakeModel) -> None:
    model = make_model()
    get_artifacts().delete(model.location)
    document = problem(as_user.get(f"/v1/models/{model.id}/download"), 404, "not-found")
    assert "artifact store" in document["detail"]


def test_an_unavailable_artifact_store_is_503(
    as_user: TestClient, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OSError("no route to host")

    model = make_model()
    monkeypatch.setattr(ArtifactStore, "files", away)
    response = as_user.get(f"/v1/models/{model.id}/download")
    problem(response, 503, "unavailable")
    assert response.headers["Retry-After"] == "5"


def test_an_archive_of_changed_or_missing_files_fails(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "store"), tmp_path / "cache")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "file").write_bytes(bytes(600))
    store.put_folder(tmp_path / "one", "models/1")
    with pytest.raises(OSError, match="600 bytes"):
        list(archive(store, "models/1", "made", {"file": 700}))
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(FileNotFoundError):
        list(archive(store, "models/1", "made", {"file": 600}))
