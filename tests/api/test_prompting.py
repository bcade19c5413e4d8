"""Prompt templates over HTTP, and the page in a completion."""

import hashlib
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from db import job_transitions
from db.queries import evaluations
from db.session import Database
from db.tables.datasets import Dataset
from db.tables.evaluations import Evaluation
from db.tables.models import Model
from tests.api.conftest import TEMPLATE, Worker
from tests.api.helpers import PAGE, REQUEST, problem, submit

OWN = "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"
SHA256 = hashlib.sha256(OWN.encode()).hexdigest()
PROMPTED: dict[str, Any] = {"system": "Write HTML.", "chat_template_kwargs": {"enable_thinking": False}}
FENCED = f"<think>A page.</think>\nHere it is:\n\n```html\n{PAGE}\n```\nEnjoy!"
JOBS: dict[str, dict[str, Any]] = {
    "/v1/generations": REQUEST,
    "/v1/evaluations": {"model": "starter", "dataset": "pages"},
    "/v1/fine-tunes": {"model": "starter", "dataset": "pages", "name": "adapter"},
    "/v1/quantizations": {"model": "starter", "dataset": "pages", "name": "smaller", "report_rows": 0},
}
SCORE = {"value": 0.5, "low": None, "high": None, "n": 4}

each_job = pytest.mark.parametrize("path", JOBS)


@pytest.fixture(autouse=True)
def dataset(make_dataset: Callable[..., Dataset]) -> Dataset:
    rows = [("Create a page.", "", PAGE)] * 4
    return make_dataset(rows, test=rows)


def turned(value: Any, times: int) -> Any:
    """Return JSON with the members of each object in the opposite order, which means the same, if `times` is odd."""
    if not isinstance(value, dict):
        return value
    members = [(key, turned(item, times)) for key, item in value.items()]
    return dict(members[:: -1 if times % 2 else 1])


def template(client: TestClient, sha256: str) -> Any:
    response = client.get(f"/v1/templates/{sha256}")
    assert response.status_code == 200, response.text
    return response.json()


@each_job
def test_a_job_shows_how_it_prompts_its_model(as_admin: TestClient, path: str) -> None:
    job = as_admin.post(path, json=JOBS[path] | PROMPTED | {"template": "chat"}).json()
    assert {name: job[name] for name in PROMPTED} == PROMPTED
    assert (job["template"], job["template_sha256"]) == ("chat", None)


@each_job
def test_a_jinja_text_is_stored_by_its_hash_and_can_be_named_by_it(as_admin: TestClient, path: str) -> None:
    first = as_admin.post(path, json=JOBS[path] | {"template": OWN}).json()
    assert (first["template"], first["template_sha256"]) == (SHA256, SHA256)
    stored = template(as_admin, SHA256)
    assert (stored["sha256"], stored["text"]) == (SHA256, OWN)
    assert submit(as_admin, template=SHA256)["template_sha256"] == SHA256


@each_job
@pytest.mark.parametrize(
    ("wrong", "detail"),
    [
        ({"template": "chatml"}, "auto, chat, pagewright-1, raw"),
        ({"template": "{% for message in messages %}\n{{ message }"}, "line 2 of the template"),
        ({"template": "0" * 64}, "no template with this hash"),
        ({"template": "{{ messages }}" * 10_000}, "100000 are allowed"),
        ({"chat_template_kwargs": {"messages": []}}, "messages can't be set"),
        ({"chat_template_kwargs": {"bos_token": "x"}}, "bos_token can't be set"),
        ({"chat_template_kwargs": {"a b": 1}}, "not a name"),
        ({"chat_template_kwargs": {"a": ["\0"]}}, "U+0000"),
        ({"chat_template_kwargs": {"a": "x" * 10_000}}, "10000 characters"),
    ],
)
def test_a_wrong_template_or_variable_is_422_with_the_reason(
    as_admin: TestClient, path: str, wrong: dict[str, Any], detail: str
) -> None:
    body = problem(as_admin.post(path, json=JOBS[path] | wrong), 422, "invalid", next(iter(wrong)))
    assert detail in body["detail"]


def test_only_admins_may_send_a_jinja_text_and_users_name_a_stored_one(
    as_user: TestClient, as_admin: TestClient
) -> None:
    requests = {
        "/v1/generations": (REQUEST | {"template": OWN}, "template"),
        "/v1/generations/batch": ({"items": [REQUEST, REQUEST | {"template": OWN}]}, "items[1].template"),
        "/v1/evaluations": (JOBS["/v1/evaluations"] | {"template": OWN}, "template"),
    }
    for path, (body, field) in requests.items():
        assert problem(as_user.post(path, json=body), 403, "forbidden")["detail"].startswith(field)
    assert as_admin.post("/v1/generations", json=REQUEST | {"template": OWN}).status_code == 202
    assert submit(as_user, template=SHA256)["template"] == SHA256


def test_an_item_of_a_batch_with_an_unknown_template_is_named(as_user: TestClient) -> None:
    items = [REQUEST, REQUEST | {"template": "1" * 64}]
    problem(as_user.post("/v1/generations/batch", json={"items": items}), 422, "invalid", "items[1].template")


def test_a_template_that_no_job_has_used_is_404(as_user: TestClient) -> None:
    problem(as_user.get(f"/v1/templates/{SHA256}"), 404, "not-found")
    problem(as_user.get("/v1/templates/pagewright-1"), 422, "invalid", "sha256")


def test_a_model_is_registered_with_a_template(as_admin: TestClient) -> None:
    body = {"source": "bundled", "location": "starter"}
    shown = {}
    for name, text in (("auto", "auto"), ("raw", "raw"), ("own", OWN)):
        response = as_admin.post("/v1/models", json=body | {"name": name, "template": text})
        assert response.status_code == 201, response.text
        model = as_admin.get(response.headers["Location"]).json()
        shown[name] = (model["template"], model["template_sha256"])
    assert shown == {"auto": (None, None), "raw": ("raw", None), "own": (SHA256, SHA256)}
    assert template(as_admin, SHA256)["text"] == OWN


@pytest.mark.parametrize("path", ["/v1/generations", "/v1/evaluations"])
def test_an_adapter_takes_no_other_template_than_that_of_its_training(
    as_admin: TestClient, make_model: Callable[..., Model], path: str
) -> None:
    make_model("adapter", template="chat", template_sha256=SHA256)
    request = JOBS[path] | {"model": "adapter"}
    for same in (None, "auto", "chat", OWN):
        assert as_admin.post(path, json=request | {"template": same}).status_code == 202
    for other in ("pagewright-1", "raw", OWN + "\n"):
        body = problem(as_admin.post(path, json=request | {"template": other}), 422, "invalid", "template")
        assert "trained with the template chat" in body["detail"]
    assert as_admin.post(path, json=request | PROMPTED).status_code == 202


@pytest.mark.parametrize("wrong", [{"template": "raw"}, {"system": "x"}, {"extract": "html"}, PROMPTED])
def test_a_baseline_has_no_prompts(as_user: TestClient, wrong: dict[str, Any]) -> None:
    request = {"model": "baseline:constant", "dataset": "pages"} | wrong
    body = problem(as_user.post("/v1/evaluations", json=request), 422, "invalid", next(iter(wrong)))
    assert "a baseline has no prompts" in body["detail"]


def test_the_page_of_a_generation_is_shown_beside_its_completion(as_user: TestClient, worker: Worker) -> None:
    whole, extracted = submit(as_user), submit(as_user, extract="html")
    assert (whole["extract"], extracted["extract"], whole["page"]) == (None, "html", None)
    worker.finish(whole["id"], completion=FENCED)
    worker.finish(extracted["id"], completion=FENCED, extract="html")
    paths = [f"/v1/generations/{job['id']}" for job in (whole, extracted)]
    shown = [as_user.get(path).json() for path in paths]
    assert [job["completion"] for job in shown] == [FENCED, FENCED]
    assert [job["page"] for job in shown] == [FENCED, PAGE]
    assert [as_user.get(f"{path}/html").text for path in paths] == [FENCED, PAGE]
    assert [job["extract"] for job in shown] == ["none", "html"]


def test_a_finished_generation_shows_the_template_that_its_worker_used(as_user: TestClient, worker: Worker) -> None:
    job = submit(as_user)
    worker.finish(job["id"])
    done = as_user.get(f"/v1/generations/{job['id']}").json()
    assert done["template"] == "pagewright-1"
    assert template(as_user, done["template_sha256"])["text"] == TEMPLATE


def test_the_leaderboard_has_an_item_for_each_way_of_prompting_and_each_engine(
    as_user: TestClient, worker: Worker, database: Database
) -> None:
    ways: list[dict[str, Any]] = [
        {},
        {"system": "Write HTML."},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"chat_template_kwargs": {"a": {"b": 1, "c": 2}, "d": 3}},
        {"extract": "html"},
        {"template": "raw"},
        {"load": {"method": "bitsandbytes", "bits": 4}},
        {"engine": "another", "engine_version": "1"},
        {"engine": "another", "engine_version": "2"},
    ]
    latest: dict[str, dict[str, Any]] = {}
    for attempt in range(2):
        for number, way in enumerate(ways):
            engine = {name: way[name] for name in ("engine", "engine_version") if name in way}
            body = JOBS["/v1/evaluations"] | turned({name: way[name] for name in way.keys() - engine.keys()}, attempt)
            job = as_user.post("/v1/evaluations", json=body).json()
            claims = worker.claim(job["id"])
            chosen = {"template_sha256": str(way.get("template")), "extract": way.get("extract", "none")}
            with database.write() as session:
                columns = chosen | engine | {"rows_done": 4}
                session.execute(update(Evaluation).where(Evaluation.job_id == uuid.UUID(job["id"])).values(columns))
                evaluations.set_overall_scores(session, uuid.UUID(job["id"]), {"exact_match": SCORE}, "")
                job_transitions.succeed(session, claims)
            latest[job["id"]] = way
            if attempt == 0:
                assert len(latest) == number + 1
    items = as_user.get("/v1/leaderboard", params={"dataset": "pages"}).json()["items"]
    assert {item["evaluation_id"] for item in items} == {*list(latest)[len(ways) :]}
    for item in items:
        way = latest[item["evaluation_id"]]
        assert {name: item[name] for name in way} == way
