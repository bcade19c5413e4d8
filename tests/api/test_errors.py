"""Every error is a problem document, including unexpected ones."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from api.errors import ProblemType
from db.session import Database
from tests.api.helpers import problem


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/jobs", "/v1/jobs/", "/v1/generations/x/y/z", "/redoc", "//v1/jobs"])
def test_an_unknown_path_is_404(as_user: TestClient, app_client: TestClient, path: str) -> None:
    for client in (as_user, app_client):
        problem(client.get(path, follow_redirects=False), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/generations", {"GET", "HEAD", "POST"}),
        ("POST", "/docs", {"GET", "HEAD"}),
        ("PUT", "/v1/jobs", {"GET", "HEAD"}),
        ("GET", "/v1/jobs/01890000-0000-7000-8000-000000000000/cancel", {"POST"}),
        ("PATCH", "/v1/api-keys/01890000-0000-7000-8000-000000000000", {"DELETE"}),
        ("OPTIONS", "/v1/models", {"GET", "HEAD", "POST"}),
        ("GET", "/v1/generations/batch", {"POST"}),
        ("OPTIONS", "/v1/generations/batch", {"POST"}),
        ("TRACE", "/healthz", {"GET", "HEAD"}),
        ("HEAD", "/v1/jobs/01890000-0000-7000-8000-000000000000/cancel", {"POST"}),
    ],
)
def test_a_wrong_method_is_405_with_the_allowed_ones(
    as_user: TestClient, method: str, path: str, allowed: set[str]
) -> None:
    response = as_user.request(method, path)
    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) == allowed
    if method != "HEAD":
        problem(response, 405, "method-not-allowed")


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/v1/jobs", "/v1/models", "/openapi.json", "/docs", "/docs/initialize.js"]
)
def test_head_is_answered_like_get_without_the_body(as_user: TestClient, path: str) -> None:
    got, head = as_user.get(path), as_user.head(path)
    for response in (got, head):
        del response.headers["X-Request-ID"]
    assert head.status_code == got.status_code
    assert head.headers == got.headers
    assert head.content == b""


def test_an_unexpected_error_is_a_problem_without_details(as_user: TestClient, database: Database) -> None:
    with database.write() as session:
        # A row that the application could not have written, so reading it fails.
        session.execute(text("UPDATE models SET source = 'secret'"))
    document = problem(as_user.get("/v1/models"), 500, "internal")
    assert "secret" not in str(document)


def test_the_problem_types_are_stable() -> None:
    assert {type.value for type in ProblemType} == {
        "invalid",
        "malformed",
        "unauthenticated",
        "forbidden",
        "not-found",
        "method-not-allowed",
        "conflict",
        "idempotency-conflict",
        "not-finished",
        "no-completion",
        "too-large",
        "too-slow",
        "unsupported-media-type",
        "queue-full",
        "unavailable",
        "internal",
    }
