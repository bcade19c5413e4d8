"""API keys are shown once, stored as hashes and revoked immediately."""

import uuid

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, text

from db.session import Database
from db.tables.base import Table
from tests.api.helpers import problem, submit, walk


def make(admin: TestClient, **fields: str) -> dict[str, str]:
    response = admin.post("/v1/api-keys", json={"name": "ci"} | fields)
    assert response.status_code == 201, response.text
    key: dict[str, str] = response.json()
    return key


def bearer(key: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {key['key']}"}


def dump(database: Database) -> str:
    with database.read() as session:
        return "\n".join(str(row) for table in Table.metadata.sorted_tables for row in session.execute(select(table)))


def test_a_new_key_works_immediately_with_its_role(as_admin: TestClient, app_client: TestClient) -> None:
    user, admin = make(as_admin), make(as_admin, role="admin")
    assert (user["role"], admin["role"]) == ("user", "admin")
    assert app_client.get("/v1/jobs", headers=bearer(user)).status_code == 200
    problem(app_client.get("/v1/api-keys", headers=bearer(user)), 403, "forbidden")
    assert app_client.get("/v1/api-keys", headers=bearer(admin)).status_code == 200


def test_the_scheme_is_case_insensitive(as_admin: TestClient, app_client: TestClient) -> None:
    headers = {"Authorization": f"bearer {make(as_admin)['key']}"}
    assert app_client.get("/v1/jobs", headers=headers).status_code == 200


def test_a_key_is_shown_once(as_admin: TestClient) -> None:
    response = as_admin.post("/v1/api-keys", json={"name": "ci"})
    key = response.json()
    assert response.headers["Cache-Control"] == "no-store"
    assert key["key"].startswith(key["prefix"])
    listed = as_admin.get("/v1/api-keys")
    assert key["key"] not in listed.text
    assert listed.json()["items"][0] == {name: key[name] for name in key if name != "key"}


def test_the_secret_is_not_in_the_database(as_admin: TestClient, app_client: TestClient, database: Database) -> None:
    key = make(as_admin)
    app_client.headers.update(bearer(key))
    submit(app_client)
    everything = dump(database)
    assert key["id"].replace("-", "") in everything.replace("-", "")
    assert key["key"] not in everything
    assert key["key"].removeprefix(key["prefix"]) not in everything
    assert len(key["key"]) - len(key["prefix"]) >= 32


def test_keys_are_different(as_admin: TestClient) -> None:
    assert len({make(as_admin)["key"] for _ in range(20)}) == 20


def test_a_revoked_key_is_refused_immediately_and_its_jobs_are_kept(
    as_admin: TestClient, app_client: TestClient
) -> None:
    key = make(as_admin)
    app_client.headers.update(bearer(key))
    job = submit(app_client)
    assert as_admin.delete(f"/v1/api-keys/{key['id']}").status_code == 204
    problem(app_client.get("/v1/jobs"), 401, "unauthenticated")
    assert as_admin.get(f"/v1/jobs/{job['id']}").json()["status"] == "queued"


def test_revoking_again_changes_nothing(as_admin: TestClient) -> None:
    key = make(as_admin)
    answers = []
    for _ in range(2):
        response = as_admin.delete(f"/v1/api-keys/{key['id']}")
        assert (response.status_code, response.content) == (204, b"")
        answers.append(as_admin.get("/v1/api-keys").json()["items"][0]["revoked_at"])
    assert answers[0] == answers[1] is not None


def test_an_unknown_key_cannot_be_revoked(as_admin: TestClient) -> None:
    problem(as_admin.delete(f"/v1/api-keys/{uuid.uuid4()}"), 404, "not-found")


def test_keys_are_listed_in_pages_newest_first(as_admin: TestClient) -> None:
    created = [make(as_admin, name=f"key {number}")["id"] for number in range(5)]
    assert [key["id"] for key in walk(as_admin, "/v1/api-keys", limit=2)][:5] == created[::-1]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"name": "a" * 201}, "name"),
        ({"name": "a\0"}, "name"),
        ({"name": 1}, "name"),
        ({"name": "ci", "role": "root"}, "role"),
        ({"name": "ci", "role": None}, "role"),
        ({"name": "ci", "key": "pw_mine"}, "key"),
    ],
)
def test_an_invalid_key_is_refused_and_the_field_is_named(
    as_admin: TestClient, database: Database, body: dict[str, object], field: str
) -> None:
    before = count(database)
    problem(as_admin.post("/v1/api-keys", json=body), 422, "invalid", field=field)
    assert count(database) == before


def count(database: Database) -> int:
    with database.read() as session:
        return int(session.execute(text("SELECT count(*) FROM api_keys")).scalar_one())
