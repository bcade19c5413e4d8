"""What clients read about bad input, unknown paths and wrong methods: our own texts, which say what to do."""

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient
from pydantic_core.core_schema import ErrorType

from api import messages
from api.app import create_app
from tests.api.helpers import REQUEST, problem
from tests.databases import on_sqlite

DOCUMENT = create_app().openapi()
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = [(method, path, item[method]) for path, item in DOCUMENT["paths"].items() for method in item]
WITH_INPUT = [one for one in OPERATIONS if "requestBody" in one[2] or one[2].get("parameters")]

FRAMEWORK = re.compile(
    r"Input should|should be|should have|should match|Field required|Value error|Assertion|Extra inputs|not permitted|"
    r"Unable to|unable to|Expected |received:|parsing the body|Missing boundary|Too many|Object should|JSON decode|"
    r"Not Found|Method Not Allowed|pydantic|\^\[|\$$"
)
"""What the sentences of pydantic, FastAPI and Starlette have in them, and ours have not."""

BAD: list[Any] = [
    None,
    "",
    " ",
    "a b",
    "é\n",
    "x" * 300,
    "nope",
    -1,
    0,
    1.5,
    10**12,
    2**70,
    1e300,
    True,
    [],
    [None],
    {},
]
BAD += [["x", 1, {}], {"nope": 1}, "2026-01-01", [["x"]] * 40_000]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return SCHEMAS[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def objects(schema: dict[str, Any], example: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield the schema of each object in an example of a body, and the object, to which objects are added."""
    schema = resolved(schema)
    for branch in schema.get("anyOf", ()):
        yield from objects(branch, example)
    if schema.get("type") == "array" and example:
        yield from objects(schema["items"], example[0])
    if "properties" not in schema:
        return
    yield schema, example
    for name, field in schema["properties"].items():
        inner = next((part for part in [field, *field.get("anyOf", ())] if "properties" in resolved(part)), None)
        if inner is not None:
            example.setdefault(name, {})
            yield from objects(inner, example[name])


def bad_bodies(schema: dict[str, Any]) -> Iterator[Any]:
    """Yield an example of the schema with each field, at any depth, left out, misspelt, and set to each bad value."""
    example = json.loads(json.dumps(resolved(schema)["examples"][0]))
    for part, body in list(objects(schema, example)):
        for name in part["properties"]:
            for change in [*BAD, ..., f"{name}x"]:
                before = dict(body)
                body.pop(name, None)
                if change == f"{name}x":
                    body[change] = 1
                elif change is not ...:
                    body[name] = change
                yield example
                body.clear()
                body.update(before)
        body["certainly_unknown"] = 1
        yield example
        del body["certainly_unknown"]


def texts(document: dict[str, Any]) -> list[str]:
    return [document["detail"], *(error["message"] for error in document["errors"])]


def check(response: Any, seen: set[str]) -> None:
    if response.status_code < 400:
        return
    assert response.headers["Content-Type"] == "application/problem+json"
    for text in texts(response.json()):
        assert not FRAMEWORK.search(text), (response.request.url, text)
        assert messages.OTHER not in text, (response.request.url, response.text)
    seen.update(error["message"] for error in response.json()["errors"])


@on_sqlite
@pytest.mark.parametrize(
    ("method", "path", "operation"), WITH_INPUT, ids=[f"{method} {path}" for method, path, _ in WITH_INPUT]
)
def test_no_text_of_a_framework_reaches_a_client(
    as_admin: TestClient, method: str, path: str, operation: dict[str, Any]
) -> None:
    seen: set[str] = set()
    filled = re.sub(r"\{[^}]*\}", "x%00y", path)
    for content_type, body in operation.get("requestBody", {"content": {}})["content"].items():
        for bad in bad_bodies(body["schema"]):
            if content_type == "application/json":
                sent: dict[str, Any] = {"content": json.dumps(bad), "headers": {"Content-Type": content_type}}
            else:
                fields = {name: str(value)[:2000] for name, value in bad.items()}
                sent = {"files": {name: (None, value) for name, value in fields.items()}}
            check(as_admin.request(method, filled, **sent), seen)
        for raw in (b"", b"[]", b"{", b'{"a": \n oops}', b"\xff", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"):
            check(as_admin.request(method, filled, content=raw, headers={"Content-Type": content_type}), seen)
    for parameter in operation.get("parameters", ()):
        for value in ("", "é", "x" * 300, "-1", "1.5", "9" * 400, "nope", "%00"):
            if parameter["in"] == "query":
                check(as_admin.request(method, f"{filled}?{parameter['name']}={value}"), seen)
            elif parameter["in"] == "path":
                check(as_admin.request(method, re.sub(r"\{[^}]*\}", value or "%20", path)), seen)
            elif value.isascii():
                check(as_admin.request(method, filled, headers={parameter["name"]: value}), seen)
    check(as_admin.request(method, f"{filled}?certainly_unknown=1"), seen)
    assert seen, "nothing was refused"


def test_the_types_of_errors_are_pydantic_s() -> None:
    assert set(messages.TEXTS) <= set(get_args(ErrorType))


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"tempurature": 1}, "tempurature", "unknown field; did you mean `temperature`?"),
        ({"maxNewTokens": 1}, "maxNewTokens", "unknown field; did you mean `max_new_tokens`?"),
        ({"load": {"methd": "x", "method": "bitsandbytes", "bits": 4}}, "load.methd", "did you mean `method`?"),
        ({"messages": []}, "messages", "unknown field; there are `"),
        ({"temperature": 3}, "temperature", "must be at most 2"),
        ({"temperature": "0"}, "temperature", "must be a number, without quotes"),
        ({"model": "a b"}, "model", "must start with a letter or digit"),
        ({"load": {"method": "gptq", "bits": 4}}, "load.method", "must be `bitsandbytes`"),
        ({"prompt": " "}, "prompt", "must not be blank"),
        ({"stop": ["x"] * 17}, "stop", "must have at most 16 items"),
        ({"stop": [""]}, "stop[0]", "must have at least 1 character"),
    ],
)
@on_sqlite
def test_a_message_says_what_to_do(as_user: TestClient, body: dict[str, Any], field: str, message: str) -> None:
    document = problem(as_user.post("/v1/generations", json=REQUEST | body), 422, "invalid", field)
    assert message in document["errors"][0]["message"]
    batch = as_user.post("/v1/generations/batch", json={"items": [REQUEST, REQUEST | body]})
    assert message in problem(batch, 422, "invalid", f"items[1].{field}")["errors"][0]["message"]


@on_sqlite
def test_a_file_that_is_sent_as_text_lacks_an_at_sign(as_admin: TestClient) -> None:
    form = {"name": (None, "new"), "file": (None, "pages.jsonl")}
    document = problem(as_admin.post("/v1/datasets", files=form), 422, "invalid", "file")
    assert "write `@` before the path, as in `-F file=@pages.jsonl`" in document["detail"]


@on_sqlite
def test_a_form_s_json_says_where_it_is_wrong_and_which_field_was_meant(as_admin: TestClient) -> None:
    def columns(text: str, field: str) -> str:
        form = {"name": (None, "new"), "hub": (None, "a/b"), "columns": (None, text)}
        return str(problem(as_admin.post("/v1/datasets", files=form), 422, "invalid", field)["detail"])

    assert columns('{"instruction":\n oops}', "columns") == "columns: is not valid JSON: see line 2, column 2"
    assert "did you mean `instruction`?" in columns('{"instrution": "a", "output": "b"}', "columns.instrution")


@on_sqlite
@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"model": "starter",\n "prompt": }', "the body is not valid JSON: see line 2, column 12"),
        (b'{"model": "starter"', "the body is not valid JSON: it ends too early, in line 1, column 20"),
        (b'{"model": "\xff"}', "the body is not valid UTF-8: see byte 12"),
        (b"[" * 100_000, "the body is not valid JSON: it is nested too deeply"),
    ],
)
def test_wrong_json_is_found_by_its_place(as_user: TestClient, body: bytes, detail: str) -> None:
    response = as_user.post("/v1/generations", content=body, headers={"Content-Type": "application/json"})
    assert problem(response, 400, "malformed")["detail"] == detail


@on_sqlite
def test_an_unknown_query_parameter_says_which_was_meant(as_user: TestClient) -> None:
    document = problem(as_user.get("/v1/jobs?stauts=failed"), 422, "invalid", "stauts")
    assert "unknown query parameter; did you mean `status`?" in document["detail"]


@on_sqlite
@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/fine_tunes", "/v1/fine-tunes"),
        ("/generations", "/v1/generations"),
        ("/v1/generation", "/v1/generations"),
        ("/v1/jobs/", "/v1/jobs"),
        ("/V1/Jobs", "/v1/jobs"),
        ("/api/v1/models", "/v1/models"),
        ("/v2/models", "/v1/models"),
        ("/health", "/healthz"),
        ("/doc", "/docs"),
    ],
)
def test_an_unknown_path_says_which_was_meant(app_client: TestClient, path: str, meant: str) -> None:
    document = problem(app_client.get(path), 404, "not-found")
    assert document["detail"] == f"there is no such path; did you mean `{meant}`?"


@on_sqlite
@pytest.mark.parametrize("path", ["/", "/v1", "/v1/poems", "/" + "x/" * 2000, "/" + "v1/generations" * 200])
def test_an_unknown_path_like_no_other_says_what_there_is(app_client: TestClient, path: str) -> None:
    detail = problem(app_client.get(path), 404, "not-found")["detail"]
    assert "`/v1/generations`, `/v1/jobs`" in detail
    assert "`/docs` describes the API" in detail


@on_sqlite
def test_a_wrong_method_says_which_there_are(as_user: TestClient) -> None:
    document = problem(as_user.put("/v1/generations"), 405, "method-not-allowed")
    assert document["detail"] == "this path does not take this method; it takes GET, HEAD and POST"
    detail = problem(as_user.get("/v1/generations/batch"), 405, "method-not-allowed")["detail"]
    assert detail == "this path does not take this method; it takes POST"
