"""Who may do what: every route with every kind of caller."""

import hashlib
import importlib
import pkgutil
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.routing import Route

import api.routes
from api.app import create_app
from db.queries import api_keys
from db.session import Database
from db.tables.api_keys import ApiKey
from db.tables.datasets import Dataset
from db.tables.models import Model
from db.vocabulary import Role
from tests.api.conftest import TEMPLATE, Worker
from tests.api.helpers import PAGE, REQUEST, Upload, problem, stored, submit, submit_batch

FINE_TUNE = {"model": "starter", "dataset": "pages", "name": "new"}
QUANTIZATION = FINE_TUNE | {"name": "smaller", "report_rows": 0}
EVALUATION = {"model": "starter", "dataset": "pages", "split": "train"}
UPLOAD = Upload({"name": "new"}, "rows.json", b'[{"instruction": "Create a page.", "output": "<p>Hi</p>"}]')
HUB_MODEL = {"name": "hub", "source": "hub", "location": "a/b", "revision": "0" * 40}

# method, path, body; the status for: a caller without a valid key, the owner of the jobs, another user, an admin
TABLE: list[tuple[str, str, Any, int, int, int, int]] = [
    ("POST", "/v1/generations", REQUEST, 401, 202, 202, 202),
    ("GET", "/v1/generations", None, 401, 200, 200, 200),
    ("POST", "/v1/generations/batch", {"items": [REQUEST]}, 401, 202, 202, 202),
    ("GET", "/v1/generations/batch/{batch_id}", None, 401, 200, 404, 200),
    ("GET", "/v1/generations/{job_id}", None, 401, 200, 404, 200),
    ("GET", "/v1/generations/{job_id}/html", None, 401, 200, 404, 200),
    ("GET", "/v1/jobs", None, 401, 200, 200, 200),
    ("GET", "/v1/jobs/{job}", None, 401, 200, 404, 200),
    ("POST", "/v1/jobs/{job}/cancel", None, 401, 200, 404, 200),
    ("GET", "/v1/jobs/{job}/events", None, 401, 200, 404, 200),
    ("POST", "/v1/datasets", UPLOAD, 401, 403, 403, 201),
    ("GET", "/v1/datasets", None, 401, 200, 200, 200),
    ("GET", "/v1/datasets/{dataset}", None, 401, 200, 200, 200),
    ("GET", "/v1/datasets/{dataset}/rows", None, 401, 200, 200, 200),
    ("DELETE", "/v1/datasets/{dataset}", None, 401, 403, 403, 204),
    ("POST", "/v1/fine-tunes", FINE_TUNE, 401, 403, 403, 202),
    ("GET", "/v1/fine-tunes", None, 401, 200, 200, 200),
    ("GET", "/v1/fine-tunes/{fine_tune}", None, 401, 404, 404, 200),
    ("GET", "/v1/fine-tunes/{fine_tune}/steps", None, 401, 404, 404, 200),
    ("POST", "/v1/quantizations", QUANTIZATION, 401, 403, 403, 202),
    ("GET", "/v1/quantizations", None, 401, 200, 200, 200),
    ("GET", "/v1/quantizations/{quantization}", None, 401, 404, 404, 200),
    ("GET", "/v1/merges", None, 401, 200, 200, 200),
    ("GET", "/v1/merges/{merge}", None, 401, 404, 404, 200),
    ("POST", "/v1/pulls", {"model": "on-the-hub"}, 401, 403, 403, 202),
    ("GET", "/v1/pulls", None, 401, 200, 200, 200),
    ("GET", "/v1/pulls/{pull}", None, 401, 404, 404, 200),
    ("POST", "/v1/evaluations", EVALUATION, 401, 202, 202, 202),
    ("GET", "/v1/evaluations", None, 401, 200, 200, 200),
    ("GET", "/v1/evaluations/compare?a={evaluation}&b={evaluation}", None, 401, 200, 200, 200),
    ("GET", "/v1/evaluations/{evaluation}", None, 401, 200, 200, 200),
    ("GET", "/v1/evaluations/{evaluation}/predictions", None, 401, 200, 200, 200),
    ("GET", "/v1/evaluations/{evaluation}/predictions.{format}", None, 401, 200, 200, 200),
    ("GET", "/v1/leaderboard?dataset=pages", None, 401, 200, 200, 200),
    ("GET", "/v1/templates/{sha256}", None, 401, 200, 200, 200),
    ("GET", "/v1/models", None, 401, 200, 200, 200),
    ("GET", "/v1/models/{model}", None, 401, 200, 200, 200),
    ("GET", "/v1/models/{model}/download", None, 401, 200, 200, 200),
    ("POST", "/v1/models", HUB_MODEL, 401, 403, 403, 201),
    ("POST", "/v1/models/{model}/merge", {"name": "new"}, 401, 403, 403, 202),
    ("POST", "/v1/api-keys", {"name": "new"}, 401, 403, 403, 201),
    ("GET", "/v1/api-keys", None, 401, 403, 403, 200),
    ("DELETE", "/v1/api-keys/{key}", None, 401, 403, 403, 204),
    ("GET", "/healthz", None, 200, 200, 200, 200),
    ("GET", "/readyz", None, 503, 503, 503, 503),
    ("GET", "/metrics", None, 200, 200, 200, 200),
    ("GET", "/openapi.json", None, 200, 200, 200, 200),
    ("GET", "/docs", None, 200, 200, 200, 200),
    ("GET", "/docs/{asset}", None, 200, 200, 200, 200),
]

STRANGERS: dict[str, str | None] = {
    "no key": None,
    "an empty header": "",
    "no scheme": "{key}",
    "another scheme": "Basic {key}",
    "a scheme alone": "Bearer",
    "a scheme and a space": "Bearer ",
    "half a key": "Bearer pw_",
    "an unknown key": "Bearer pw_" + "x" * 43,
    "a key and more": "Bearer {key} {key}",
    "a key in other letters": "Bearer {KEY}",
    "a key that is no ASCII": "Bearer pw_\xe9\xff",
    "a key that is huge": "Bearer " + "x" * 30_000,
    "SQL": "Bearer ' OR 1=1 --",
}


@pytest.fixture
def ids(
    as_user: TestClient,
    as_admin: TestClient,
    worker: Worker,
    make_key: Callable[[Role], tuple[ApiKey, str]],
    make_model: Callable[..., Model],
    make_dataset: Callable[..., Dataset],
) -> dict[str, str]:
    """Values for the parameters of the paths: existing things of the user, and jobs of the admin."""
    job = submit(as_user)["id"]
    worker.finish(job)
    model = make_model()
    key, _ = make_key(Role.USER)
    batch = submit_batch(as_user, 1)["id"]
    make_dataset([("Create a page.", "", PAGE)], name="pages")
    unused = make_dataset([("Create a page.", "", PAGE)], name="unused")
    fine_tune = as_admin.post("/v1/fine-tunes", json=FINE_TUNE | {"name": "a-fine-tune"}).json()["id"]
    quantization = as_admin.post("/v1/quantizations", json=QUANTIZATION | {"name": "small"}).json()["id"]
    merge = as_admin.post(f"/v1/models/{model.id}/merge", json={"name": "merged"}).json()["id"]
    evaluation = as_admin.post("/v1/evaluations", json=EVALUATION).json()["id"]
    as_admin.post("/v1/models", json=HUB_MODEL | {"name": "on-the-hub"})
    pull = as_admin.post("/v1/pulls", json={"model": "on-the-hub"}).json()["id"]
    return {
        "job_id": job,
        "job": job,
        "evaluation": evaluation,
        "format": "jsonl",
        "sha256": hashlib.sha256(TEMPLATE.encode()).hexdigest(),
        "asset": "swagger-ui.css",
        "batch_id": batch,
        "model": str(model.id),
        "key": str(key.id),
        "dataset": str(unused.id),
        "fine_tune": fine_tune,
        "quantization": quantization,
        "merge": merge,
        "pull": pull,
    }


def test_every_route_is_in_the_table() -> None:
    routes = {(method.upper(), path) for path, item in create_app().openapi()["paths"].items() for method in item}
    for module in pkgutil.iter_modules(api.routes.__path__):
        router = importlib.import_module(f"api.routes.{module.name}").router
        routes |= {(method, route.path_format) for route in router.routes for method in route.methods}
    routes |= {
        (method, route.path_format)
        for route in create_app().routes
        if isinstance(route, Route) and route.methods
        for method in route.methods - {"HEAD"}
    }
    assert routes == {(method, path.split("?")[0]) for method, path, *_ in TABLE}


@pytest.mark.parametrize(
    ("method", "path", "body", "stranger", "user", "other", "admin"), TABLE, ids=[f"{row[0]} {row[1]}" for row in TABLE]
)
def test_each_caller_gets_what_the_table_says(
    app_client: TestClient,
    as_user: TestClient,
    as_other_user: TestClient,
    as_admin: TestClient,
    ids: dict[str, str],
    make_key: Callable[[Role], tuple[ApiKey, str]],
    database: Database,
    method: str,
    path: str,
    body: Any,
    stranger: int,
    user: int,
    other: int,
    admin: int,
) -> None:
    path = path.format(**ids)
    sent = body.request if isinstance(body, Upload) else {"json": body}
    revoked, secret = make_key(Role.ADMIN)
    with database.write() as session:
        api_keys.revoke(session, revoked.id)
    rows = stored(database)
    headers = {name: header and header.format(key=secret, KEY=secret.upper()) for name, header in STRANGERS.items()}
    for who, header in (headers | {"a revoked key": f"Bearer {secret}"}).items():
        authorization = {} if header is None else {b"Authorization": header.encode("latin-1")}
        response = app_client.request(method, path, **sent, headers=authorization)
        assert response.status_code == stranger, who
        if stranger == 401:
            problem(response, 401, "unauthenticated")
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert secret not in response.text
    assert stored(database) == rows
    for client, status in ((as_other_user, other), (as_user, user)):
        rows = stored(database)
        response = client.request(method, path, **sent)
        assert response.status_code == status, response.text
        if status == 403:
            problem(response, 403, "forbidden")
        if status in (403, 404):
            assert stored(database) == rows
        if client is as_other_user and path in ("/v1/generations", "/v1/jobs") and method == "GET":
            assert response.json()["items"] == []
    response = as_admin.request(method, path, **sent)
    assert response.status_code == admin, response.text


@pytest.mark.parametrize(
    "content", [b"{", b"[" * 100_000, b"\xff", b"x" * 1_000_000], ids=["half", "deep", "no UTF-8", "long"]
)
def test_a_body_without_a_valid_key_is_not_parsed(app_client: TestClient, content: bytes) -> None:
    for path in "/v1/generations", "/v1/generations/batch", "/v1/models", "/v1/api-keys", "/v1/datasets":
        for content_type in "application/json", "text/plain", "multipart/form-data; boundary=x":
            response = app_client.post(path, content=content, headers={"Content-Type": content_type})
            problem(response, 401, "unauthenticated")


@pytest.mark.parametrize("path", ["/v1/datasets", "/v1/models", "/v1/api-keys", "/v1/fine-tunes", "/v1/quantizations"])
def test_a_users_body_is_not_parsed_where_an_admin_is_required(as_user: TestClient, path: str) -> None:
    for content_type in "application/json", "text/plain", "multipart/form-data":
        problem(as_user.post(path, content=b"{", headers={"Content-Type": content_type}), 403, "forbidden")


def test_whether_a_job_exists_is_hidden_without_a_key(app_client: TestClient, ids: dict[str, str]) -> None:
    for job_id in (ids["job_id"], str(uuid.uuid4()), "no-uuid"):
        problem(app_client.get(f"/v1/jobs/{job_id}"), 401, "unauthenticated")
