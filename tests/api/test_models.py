"""An admin registers models before jobs can use them."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from db.session import Database
from db.tables.models import Model
from db.vocabulary import Role
from tests.api.conftest import Server
from tests.api.helpers import problem, submit, walk

COMMIT = "0123456789abcdef" * 2 + "01234567"
HUB = {"name": "llama", "source": "hub", "location": "TheBloke/Llama-2-7b-Chat-GPTQ", "revision": COMMIT}
LOCAL = {"name": "mine", "source": "local", "location": "mine"}


@pytest.fixture
def models_dir(database: Database, configure: Callable[..., None], tmp_path: Path) -> Path:
    """The models directory with a valid model in it, and another valid model beside the directory."""
    directory = tmp_path / "models"
    for folder in (directory / "mine", directory / "nested" / "deeper", tmp_path / "outside"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").touch()
    configure(models_dir=directory)
    return directory


def count(database: Database) -> int:
    with database.read() as session:
        return session.scalars(select(func.count()).select_from(Model)).one()


def refuse(admin: TestClient, database: Database, body: dict[str, Any], field: str) -> None:
    before = count(database)
    problem(admin.post("/v1/models", json=body), 422, "invalid", field=field)
    assert count(database) == before


def test_the_bundled_model_is_registered_initially(as_user: TestClient) -> None:
    [starter] = walk(as_user, "/v1/models")
    assert (starter["name"], starter["source"], starter["revision"]) == ("starter", "bundled", None)


@pytest.mark.parametrize(
    "body",
    [
        HUB,
        LOCAL,
        LOCAL | {"location": "nested/deeper"},
        {"name": "again", "source": "bundled", "location": "starter"},
    ],
    ids=["hub", "local", "nested", "bundled"],
)
def test_a_registered_model_is_shown_and_can_be_used(
    as_admin: TestClient, as_user: TestClient, models_dir: Path, body: dict[str, Any]
) -> None:
    response = as_admin.post("/v1/models", json=body)
    assert response.status_code == 201, response.text
    model = response.json()
    assert {name: model[name] for name in body} == body
    assert as_user.get(response.headers["Location"]).json() == model
    assert walk(as_user, "/v1/models", limit=1)[0] == model
    assert submit(as_user, model=body["name"])["model"] == body["name"]


GPTQ = {"bits": 4, "group_size": 128, "desc_act": True, "sym": True}


@pytest.mark.parametrize(
    ("files", "shown"),
    [
        ({"config.json": {"quantization_config": GPTQ | {"quant_method": "gptq"}}}, {"method": "gptq"} | GPTQ),
        ({"quantize_config.json": GPTQ | {"model_file_base_name": "model"}}, {"method": "gptq"} | GPTQ),
        ({"config.json": {"quantization_config": {"quant_method": "fp8"}}}, {"method": "fp8"}),
        ({"config.json": {}}, None),
        ({"config.json": []}, None),
        ({"config.json": {"quantization_config": "gptq"}, "quantize_config.json": 4}, None),
    ],
    ids=["today's layout", "AutoGPTQ's layout", "another method", "not quantized", "no object", "nothing to read"],
)
def test_the_quantization_of_a_local_model_is_shown(
    as_admin: TestClient, models_dir: Path, files: dict[str, Any], shown: dict[str, Any] | None
) -> None:
    for name, content in files.items():
        (models_dir / "mine" / name).write_text(json.dumps(content))
    response = as_admin.post("/v1/models", json=LOCAL)
    assert response.status_code == 201, response.text
    assert response.json()["quantization"] == shown
    assert walk(as_admin, "/v1/models")[0]["quantization"] == shown


@pytest.mark.parametrize(
    "location",
    ["..", "../outside", "mine/../../outside", ".", "./", "mine/..", "nested/../../models", "{outside}", "/", "//etc"],
)
def test_a_local_model_must_be_inside_the_models_directory(
    as_admin: TestClient, database: Database, models_dir: Path, location: str
) -> None:
    location = location.format(outside=models_dir.parent / "outside")
    refuse(as_admin, database, LOCAL | {"location": location}, "location")


def test_a_link_out_of_the_models_directory_is_refused(
    as_admin: TestClient, database: Database, models_dir: Path
) -> None:
    (models_dir / "link").symlink_to(models_dir.parent / "outside")
    (models_dir / "up").symlink_to(models_dir.parent)
    (models_dir / "loop").symlink_to(models_dir / "loop")
    for location in ("link", "up/outside", "loop", "loop/x"):
        refuse(as_admin, database, LOCAL | {"location": location}, "location")


def test_a_link_inside_the_models_directory_is_accepted(as_admin: TestClient, models_dir: Path) -> None:
    (models_dir / "latest").symlink_to(models_dir / "mine")
    assert as_admin.post("/v1/models", json=LOCAL | {"location": "latest"}).status_code == 201


@pytest.mark.parametrize("location", ["missing", "mine/config.json", "nested", "x" * 300, "mine/" * 99])
def test_a_local_model_must_have_a_config(
    as_admin: TestClient, database: Database, models_dir: Path, location: str
) -> None:
    refuse(as_admin, database, LOCAL | {"location": location + "x" * location.endswith("/")}, "location")


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model.pt", "model.pkl", None])
def test_a_local_model_must_have_safetensors(
    as_admin: TestClient, database: Database, models_dir: Path, weights: str | None
) -> None:
    (models_dir / "mine" / "model.safetensors").unlink()
    if weights:
        (models_dir / "mine" / weights).touch()
    refuse(as_admin, database, LOCAL, "location")


@pytest.mark.parametrize("revision", ["", " main", "main\n", "-main", "a b", "0" * 65])
def test_the_revision_of_a_hub_model_must_be_the_name_of_a_branch_tag_or_commit(
    as_admin: TestClient, database: Database, revision: str
) -> None:
    refuse(as_admin, database, HUB | {"revision": revision}, "revision")


@pytest.mark.parametrize("location", ["llama", "a/b/c", "../x", "a/..", "/a", "a/", "a b/c", "https://a/b", "é/a", ""])
def test_the_location_of_a_hub_model_must_be_owner_and_name(
    as_admin: TestClient, database: Database, location: str
) -> None:
    refuse(as_admin, database, HUB | {"location": location}, "location")


@pytest.mark.parametrize("source", ["bundled", "local"])
def test_only_a_hub_model_can_have_a_revision(
    as_admin: TestClient, database: Database, models_dir: Path, source: str
) -> None:
    body = {"name": "m", "source": source, "location": {"bundled": "starter", "local": "mine"}[source]}
    refuse(as_admin, database, body | {"revision": COMMIT}, "revision")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"source": "s3"}, "source"),
        ({"source": "bundled", "location": "other", "revision": None}, "location"),
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "-a"}, "name"),
        ({"name": "a" * 201}, "name"),
        ({"name": "a\n"}, "name"),
        ({"trust_remote_code": True}, "trust_remote_code"),
        ({"location": "TheBloke/Llama\0"}, "location"),
        ({"location": None}, "location"),
    ],
)
def test_an_invalid_model_is_refused_and_the_field_is_named(
    as_admin: TestClient, database: Database, changes: dict[str, Any], field: str
) -> None:
    refuse(as_admin, database, HUB | changes, field)


def test_a_name_can_be_used_once(as_admin: TestClient, database: Database) -> None:
    assert as_admin.post("/v1/models", json=HUB).status_code == 201
    problem(as_admin.post("/v1/models", json=HUB), 409, "conflict", field="name")
    problem(as_admin.post("/v1/models", json=HUB | {"name": "starter"}), 409, "conflict", field="name")
    assert count(database) == 2


def test_one_of_concurrent_registrations_of_a_name_succeeds(server: Server, database: Database) -> None:
    with server.client(Role.ADMIN) as client, ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: client.post("/v1/models", json=HUB), range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    assert count(database) == 2


def test_models_are_listed_in_pages(as_admin: TestClient) -> None:
    names = [f"m{number}" for number in range(5)]
    for name in names:
        assert as_admin.post("/v1/models", json=HUB | {"name": name}).status_code == 201
    assert [model["name"] for model in walk(as_admin, "/v1/models", limit=2)] == [*names[::-1], "starter"]


def test_an_unknown_model_is_404(as_user: TestClient) -> None:
    problem(as_user.get("/v1/models/01890000-0000-7000-8000-000000000000"), 404, "not-found")
