"""Helpers for the tests of the API."""

from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator
from sqlalchemy import func, select

from api.errors import ProblemDocument
from db.session import Database
from db.tables.generations import Generation
from db.tables.jobs import Job

REQUEST = {"model": "starter", "prompt": "Create a web page with a heading."}
PAGE = "<!DOCTYPE html><html><body><h1>Grüße</h1></body></html>"

_problem_schema = Draft202012Validator(
    {**ProblemDocument.model_json_schema(mode="serialization"), "additionalProperties": False}
)


@dataclass(frozen=True)
class Upload:
    """A form with a file."""

    fields: dict[str, str]
    name: str
    content: bytes

    @property
    def request(self) -> dict[str, Any]:
        """The arguments for a test client's `post`."""
        return {"data": self.fields, "files": {"file": (self.name, self.content)}}


def submit(client: Any, **fields: object) -> dict[str, Any]:
    """Submit a generation with `fields`, and return its job."""
    response = client.post("/v1/generations", json=REQUEST | fields)
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    return job


def submit_batch(client: Any, count: int) -> dict[str, Any]:
    response = client.post("/v1/generations/batch", json={"items": [REQUEST] * count})
    assert response.status_code == 202, response.text
    batch: dict[str, Any] = response.json()
    return batch


def problem(response: Any, status: int, type: str, field: str | None = None) -> dict[str, Any]:
    """Check that a response is a problem with this status and type whose first error is in `field`. Return it."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    _problem_schema.validate(document)
    assert document["status"] == status
    assert document["type"] == f"urn:pagewright:problem:{type}", document
    assert (document["errors"][0]["field"] if document["errors"] else None) == field, document
    assert field is None or document["detail"].startswith(field)
    return document


def stored(database: Database) -> tuple[int, int]:
    """Return the number of jobs and of generations in the database."""
    with database.read() as session:
        jobs, generations = (
            session.scalars(select(func.count()).select_from(table)).one() for table in (Job, Generation)
        )
    return jobs, generations


def walk(client: Any, path: str, **query: object) -> list[dict[str, Any]]:
    """Return all items of a list, page by page."""
    items: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        response = client.get(path, params=query | after)
        assert response.status_code == 200, response.text
        items += response.json()["items"]
        if response.json()["next"] is None:
            return items
        after = {"after": response.json()["next"]}
