"""Bad input gets the right status, names the field, repeats nothing that was sent, and stores nothing."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from db.session import Database
from tests.api.helpers import REQUEST, problem, stored

GENERATIONS = "/v1/generations"
BATCH = "/v1/generations/batch"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(database: Database, redis: Redis) -> Any:
    yield
    assert stored(database) == (0, 0)
    assert redis.llen("test:generation") == 0


def post(client: TestClient, body: bytes | str, path: str = GENERATIONS) -> Any:
    return client.post(path, content=body.encode() if isinstance(body, str) else body, headers=JSON)


FIELDS: list[tuple[str, list[str]]] = [
    # The values are raw JSON, because a JSON library would not write some of them.
    ("model", ["null", '""', "1", "[]", '"a b"', '"../x"', '"a\\n"', '"' + "m" * 201 + '"', '"a\\u0000"', '"é"']),
    ("prompt", ["null", '""', '" \\n\\t "', "1", "true", "[]", "{}", '"a\\u0000b"', '"\\ud800"', '"\\udfff x"', "NaN"]),
    ("input", ["null", "0", '["a"]', '"\\u0000"', '"\\udc00"']),
    ("max_new_tokens", ["0", "-1", "131073", "1.5", "1.0", '"1"', "true", "NaN", "Infinity", "1e3", "9" * 400]),
    ("temperature", ["-0.1", "2.1", "NaN", "Infinity", "-Infinity", "1e400", '"1"', "true", "null", "9" * 400, "[]"]),
    ("top_p", ["0", "-0.5", "1.01", "NaN", "-Infinity", '"0.5"', "false", "null"]),
    ("top_k", ["-1", "1000001", "1.5", '"1"', "true", "null", "NaN"]),
    ("seed", ["-1", str(2**63), "1.5", '"1"', "false", "9" * 400, "NaN"]),
    ("stop", ["null", '"</html>"', json.dumps(["x"] * 17), "{}"]),
    ("load", ["4", '"bitsandbytes"', "[]", "true"]),
    ("load.method", ["{}", '{"bits": 4}', '{"method": "gptq", "bits": 4}', '{"method": null, "bits": 4}']),
    (
        "load.bits",
        [f'{{"method": "bitsandbytes", "bits": {bits}}}' for bits in ("3", "4.5", '"4"', "true", "null", "0")],
    ),
    ("load.bits", ['{"method": "bitsandbytes"}']),
    ("load.double", ['{"method": "bitsandbytes", "bits": 4, "double": true}']),
    ("stop[0]", ['[""]', "[1]", "[null]", '["a\\u0000"]', '["\\ud800"]', json.dumps(["x" * 201])]),
]


@pytest.mark.parametrize(("field", "values"), FIELDS)
def test_an_invalid_value_is_422_and_the_field_is_named(as_user: TestClient, field: str, values: list[str]) -> None:
    name = field.removesuffix("[0]").split(".")[0]
    for value in values:
        fields = {key: json.dumps(valid) for key, valid in REQUEST.items()} | {name: value}
        body = "{" + ", ".join(f'"{key}": {raw}' for key, raw in fields.items()) + "}"
        problem(post(as_user, body), 422, "invalid", field=field)
        problem(post(as_user, '{"items": [' + body + "]}", BATCH), 422, "invalid", field=f"items[0].{field}")


@pytest.mark.parametrize("field", ["prompt", "input"])
def test_a_text_can_have_200000_characters(as_user: TestClient, field: str) -> None:
    problem(as_user.post(GENERATIONS, json=REQUEST | {field: "ä" * 200_001}), 422, "invalid", field=field)
    problem(
        as_user.post(GENERATIONS, json=REQUEST | {field: "ä" * 200_000, "model": "unknown"}),
        422,
        "invalid",
        field="model",
    )


@pytest.mark.parametrize("field", ["model", "prompt"])
def test_a_missing_field_is_named(as_user: TestClient, field: str) -> None:
    body = {name: value for name, value in REQUEST.items() if name != field}
    problem(as_user.post(GENERATIONS, json=body), 422, "invalid", field=field)


def test_every_invalid_field_is_named(as_user: TestClient) -> None:
    document = problem(
        as_user.post(GENERATIONS, json={"model": 1, "temperature": 3, "what": 0}), 422, "invalid", field="temperature"
    )
    assert {error["field"] for error in document["errors"]} == {"model", "prompt", "temperature", "what"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("modell", "modell"),
        ("trust_remote_code", "trust_remote_code"),
        ("x" * 100_000, "x" * 64),
        ("\ud800", "body"),
        ("é\0\n", "\\xe9\\x00\\n"),
        ("", ""),
    ],
    ids=["misspelled", "other", "huge", "surrogate", "control", "empty"],
)
def test_an_unknown_field_is_422_and_its_name_is_shown_safely(as_user: TestClient, name: str, shown: str) -> None:
    problem(post(as_user, json.dumps(REQUEST | {name: 1})), 422, "invalid", field=shown)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("[]", "body"),
        ("1", "body"),
        ('"text"', "body"),
        ("null", "body"),
        ("", "body"),
        ("NaN", "body"),
        ("{}", "model"),
    ],
)
def test_a_body_must_be_an_object(as_user: TestClient, body: str, field: str) -> None:
    problem(post(as_user, body), 422, "invalid", field=field)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"model": "starter",}',
        b"{'model': 'starter'}",
        b'{"model": "star',
        b'{"prompt": "a\x00b"}',
        b'{"prompt": "\xff\xfe"}',
        b"\xff",
        b"\x00",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"seed": ' + b"9" * 5000 + b"}",
        b'{"model": "starter"} {}',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_invalid_json_is_400(as_user: TestClient, body: bytes) -> None:
    problem(post(as_user, body), 400, "malformed")


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "text/json", "application/jsonp", "application/x-www-form-urlencoded", "é"]
)
def test_a_content_type_other_than_json_is_415(as_user: TestClient, content_type: str | None) -> None:
    headers = {} if content_type is None else {b"Content-Type": content_type.encode("latin-1")}
    response = as_user.post(GENERATIONS, content=json.dumps(REQUEST).encode(), headers=headers)
    problem(response, 415, "unsupported-media-type")


@pytest.mark.parametrize("path", ["/v1/generations/{}", "/v1/generations/{}/html"])
def test_an_id_must_be_a_uuid(as_user: TestClient, path: str) -> None:
    for bad in ("1", "x" * 5000, "%00", "%ff", "018f-", "null"):
        problem(as_user.get(path.format(bad)), 422, "invalid", field="job_id")


@pytest.mark.parametrize(
    "path", ["/v1/jobs/{}", "/v1/jobs/{}/events", "/v1/fine-tunes/{}", "/v1/models/{}", "/v1/datasets/{}"]
)
def test_a_name_that_nothing_has_is_404(as_user: TestClient, path: str) -> None:
    for unknown in ("1", "x" * 200, "%ff", "018f-", "null", "a/b", "%F0%9F%98%80", "' OR 1=1 --", "%25"):
        problem(as_user.get(path.format(unknown)), 404, "not-found")
    for bad in ("x" * 201, "x" * 5000, "%00"):
        problem(
            as_user.get(path.format(bad)), 422, "invalid", field=path.split("/")[2].removesuffix("s").replace("-", "_")
        )


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/generations"])
@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("limit", ["0", "101", "-1", "ten", "", "1e1", "1.5", "9" * 5000, "%00"]),
        ("after", ["1", "", "%00", "null"]),
        ("status", ["done", "QUEUED", "", "queued%00"]),
        ("batch_id", ["x", "", "%ff"]),
    ],
    ids=["limit", "after", "status", "batch_id"],
)
def test_an_invalid_query_parameter_is_422_and_named(
    as_user: TestClient, path: str, field: str, values: list[str]
) -> None:
    for value in values:
        problem(as_user.get(f"{path}?{field}={value}"), 422, "invalid", field=field)


@pytest.mark.parametrize("path", ["/v1/jobs?statsu=failed", "/v1/generations/batch?statsu=1"])
def test_an_unknown_query_parameter_is_422_and_named(as_user: TestClient, path: str) -> None:
    method = "POST" if "batch" in path else "GET"
    answer = as_user.request(method, path, json={"items": [REQUEST]} if method == "POST" else None)
    problem(answer, 422, "invalid", "statsu")


def test_an_unknown_kind_is_422(as_user: TestClient) -> None:
    problem(as_user.get("/v1/jobs?kind=poem"), 422, "invalid", field="kind")


SECRET = "pw_a-secret-that-was-pasted-into-the-wrong-place"


@pytest.mark.parametrize(
    "changes",
    [
        {"model": SECRET},
        {"model": SECRET + " "},
        {"prompt": SECRET * 10_000},
        {"temperature": SECRET},
        {"stop": SECRET},
        {"stop": ["", SECRET]},
        {"seed": [SECRET]},
    ],
    ids=lambda changes: str(changes)[:16],
)
def test_an_error_does_not_repeat_what_was_sent(as_user: TestClient, changes: dict[str, Any]) -> None:
    for response in (
        as_user.post(GENERATIONS, json=REQUEST | changes),
        as_user.post(BATCH, json={"items": [REQUEST | changes]}),
        as_user.post(GENERATIONS, json=REQUEST | changes, headers={"Idempotency-Key": SECRET * 9}),
        as_user.get("/v1/jobs", params={"status": SECRET}),
        as_user.get(f"/v1/jobs/{SECRET}"),
        as_user.get(f"/{SECRET}"),
    ):
        assert response.status_code in (404, 422)
        assert SECRET not in response.text
        assert len(response.content) < 10_000
