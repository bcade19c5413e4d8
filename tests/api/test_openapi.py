"""The OpenAPI document is complete, current and correct."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator

import api.routes
from api.app import create_app
from api.openapi import as_text
from db.tables.datasets import Dataset
from db.tables.models import Model
from tests.api.helpers import PAGE, REQUEST, Upload, submit

DOCUMENT = create_app().openapi()
OPERATIONS = [(method, path, item[method]) for path, item in DOCUMENT["paths"].items() for method in item]
WITH_BODY = [(method, path, operation) for method, path, operation in OPERATIONS if "requestBody" in operation]

each_operation = pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=[f"{method} {path}" for method, path, _ in OPERATIONS]
)
each_body = pytest.mark.parametrize(
    ("method", "path", "operation"), WITH_BODY, ids=[f"{method} {path}" for method, path, _ in WITH_BODY]
)

ADMINS_ONLY = {
    ("post", "/v1/models"),
    ("post", "/v1/models/{model}/merge"),
    ("post", "/v1/fine-tunes"),
    ("post", "/v1/quantizations"),
    ("post", "/v1/datasets"),
    ("delete", "/v1/datasets/{dataset}"),
}


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def media_type(operation: dict[str, Any]) -> str:
    [only] = operation["requestBody"]["content"]
    assert only in ("application/json", "multipart/form-data")
    return str(only)


def body_schema(operation: dict[str, Any]) -> dict[str, Any]:
    reference = operation["requestBody"]["content"][media_type(operation)]["schema"]["$ref"]
    schema: dict[str, Any] = DOCUMENT["components"]["schemas"][reference.rsplit("/", 1)[1]]
    return schema


def send(client: TestClient, method: str, path: str, operation: dict[str, Any], example: dict[str, Any]) -> Any:
    if media_type(operation) == "application/json":
        return client.request(method, path, json=example)
    fields = {name: str(value) for name, value in example.items() if name != "file"}
    return client.request(method, path, **Upload(fields, "example.jsonl", example["file"].encode()).request)


def test_every_reference_can_be_resolved() -> None:
    for reference in set(references(DOCUMENT)):
        node = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_every_schema_is_a_valid_json_schema() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@each_body
def test_the_examples_of_a_body_match_its_schema(method: str, path: str, operation: dict[str, Any]) -> None:
    schema = body_schema(operation)
    assert schema["examples"]
    for example in schema["examples"]:
        validator(schema).validate(example)
    assert schema["additionalProperties"] is False


@each_body
def test_an_example_is_accepted(
    as_admin: TestClient,
    configure: Callable[..., None],
    make_model: Callable[..., Model],
    make_dataset: Callable[..., Dataset],
    tmp_path: Path,
    method: str,
    path: str,
    operation: dict[str, Any],
) -> None:
    configure(models_dir=tmp_path)
    (tmp_path / "my-model").mkdir()
    (tmp_path / "my-model" / "config.json").write_text("{}")
    (tmp_path / "my-model" / "model.safetensors").touch()
    path = path.format(model=make_model().id)
    if path in ("/v1/fine-tunes", "/v1/evaluations", "/v1/quantizations"):
        make_dataset([("Create a page.", "", PAGE)], name="pages", test=[("Create a shop.", "", PAGE)])
    if path == "/v1/pulls":
        hub_model = {"name": "llama-2-7b-chat-gptq", "source": "hub", "location": "a/b"}
        assert as_admin.post("/v1/models", json=hub_model).status_code == 201
    for example in body_schema(operation)["examples"]:
        response = send(as_admin, method, path, operation, example)
        assert response.status_code in (201, 202), response.text


@each_operation
def test_an_operation_documents_its_problems(method: str, path: str, operation: dict[str, Any]) -> None:
    expected = {"default"}
    if path.startswith("/v1/"):
        expected |= {"401", "422", "503"}
    if path.startswith("/v1/api-keys") or (method, path) in ADMINS_ONLY:
        expected |= {"403"}
    if "{" in path:
        expected |= {"404"}
    if "requestBody" in operation:
        expected |= {"400", "413", "415"}
    if "Idempotency-Key" in {parameter["name"] for parameter in operation.get("parameters", [])}:
        expected |= {"409", "429"}
    assert expected <= set(operation["responses"])
    for status, response in operation["responses"].items():
        if not status.startswith("2") and path != "/readyz":
            assert list(response["content"]) == ["application/problem+json"], status


@each_operation
def test_an_operation_documents_whether_it_requires_a_key(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation.get("security", []) == ([{"HTTPBearer": []}] if path.startswith("/v1/") else [])


def test_responses_match_their_schemas(as_user: TestClient) -> None:
    schemas = DOCUMENT["components"]["schemas"]
    validator(schemas["ProblemDocument"]).validate(as_user.post("/v1/generations", json={}).json())
    validator(schemas["GenerationOut"]).validate(submit(as_user, seed=1, stop=["x"]))
    batch = as_user.post("/v1/generations/batch", json={"items": [REQUEST]}).json()
    validator(schemas["GenerationBatchSubmitted"]).validate(batch)
    validator(schemas["PageOut_GenerationOut_"]).validate(as_user.get("/v1/generations").json())


def test_the_document_is_served(app_client: TestClient) -> None:
    assert app_client.get("/openapi.json").json() == DOCUMENT


@each_operation
def test_an_operation_is_described(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    generated = operation["operationId"].replace("_", " ").title()
    assert operation["summary"] != generated, "FastAPI generated this summary from the function's name"


@each_operation
def test_an_operation_id_is_a_verb_and_a_noun(method: str, path: str, operation: dict[str, Any]) -> None:
    verb, *noun = operation["operationId"].split("_")
    verbs = {
        "cancel",
        "compare",
        "create",
        "delete",
        "download",
        "export",
        "get",
        "list",
        "merge",
        "register",
        "revoke",
    }
    assert verb in verbs | {"stream"}
    assert noun


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(ids)) == len(ids)


def test_every_tag_is_described() -> None:
    tags = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}
    assert all(tags.values())
    assert set(tags) == {tag for _, _, operation in OPERATIONS for tag in operation["tags"]}


def test_every_module_of_routes_is_served() -> None:
    names = {module.name for module in pkgutil.iter_modules(api.routes.__path__)}
    served = {operation["operationId"] for _, _, operation in OPERATIONS}
    for name in names:
        router = importlib.import_module(f"api.routes.{name}").router
        assert {route.name for route in router.routes} <= served, name


def test_the_committed_document_is_current() -> None:
    committed = Path(__file__).parents[2] / "openapi.json"
    assert committed.read_text() == as_text(DOCUMENT), (
        "openapi.json is outdated: run `.venv/bin/python -m api.openapi > openapi.json` and look at the difference"
    )
