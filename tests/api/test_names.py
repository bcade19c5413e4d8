"""Everything that has a name is found by it, and by its id, in every path and every field."""

import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.references import PARTS
from db.queries import api_keys
from db.session import Database
from db.tables.api_keys import ApiKey
from db.tables.datasets import Dataset
from db.tables.models import Model
from db.vocabulary import JobKind, Role
from tests.api.conftest import Worker
from tests.api.helpers import PAGE, REQUEST, problem, submit, submit_batch, walk
from tests.databases import on_sqlite

BUILD = {"model": "starter", "dataset": "team/pages"}
EVALUATION = BUILD | {"split": "train"}
MADE = {"fine-tunes": "team/tuned", "quantizations": "small", "merges": "merged", "evaluations": "first"}
NOTHING = str(uuid.UUID(int=1))


def create(client: TestClient, path: str, body: Any, status: int = 202) -> Any:
    response = client.post(path, json=body)
    assert response.status_code == status, response.text
    return response.json()


@pytest.fixture
def pages(make_dataset: Callable[..., Dataset]) -> Dataset:
    rows = [("Create a page.", "", PAGE)] * 3
    return make_dataset(rows, name="team/pages", test=rows)


@pytest.fixture
def adapter(make_model: Callable[..., Model]) -> Model:
    return make_model("team/adapter")


@pytest.fixture
def jobs(as_admin: TestClient, pages: Dataset, adapter: Model) -> dict[str, Any]:
    """One job of each kind that has a name, by the word in its path."""
    return {
        "fine-tunes": create(as_admin, "/v1/fine-tunes", BUILD | {"name": MADE["fine-tunes"]}),
        "quantizations": create(as_admin, "/v1/quantizations", BUILD | {"name": "small", "report_rows": 0}),
        "merges": create(as_admin, "/v1/models/team/adapter/merge", {"name": "merged"}),
        "evaluations": create(as_admin, "/v1/evaluations", EVALUATION | {"name": "first"}),
    }


@pytest.mark.parametrize("kind", MADE)
def test_a_job_is_found_by_its_name_and_its_id_at_its_kind_and_among_all_jobs(
    as_admin: TestClient, as_other_user: TestClient, jobs: dict[str, Any], kind: str
) -> None:
    job, name = jobs[kind], MADE[kind]
    assert f"{job['kind']}s" == kind
    for reference in (job["id"], name, name.replace("/", "%2F"), job["id"].upper()):
        found = as_admin.get(f"/v1/{kind}/{reference}")
        assert found.status_code == 200, found.text
        assert (found.json()["id"], found.json()["name"]) == (job["id"], name)
        assert as_admin.get(f"/v1/jobs/{reference}").json()["id"] == job["id"]
        problem(as_other_user.get(f"/v1/jobs/{reference}"), 404, "not-found")
        if kind != "evaluations":  # which everyone may read
            problem(as_other_user.get(f"/v1/{kind}/{reference}"), 404, "not-found")
    for other in MADE.keys() - {kind}:
        for reference in (job["id"], name):
            problem(as_admin.get(f"/v1/{other}/{reference}"), 404, "not-found")
    for nobodys in (NOTHING, "nothing", f"{name}x"):
        problem(as_admin.get(f"/v1/{kind}/{nobodys}"), 404, "not-found")
        problem(as_admin.get(f"/v1/jobs/{nobodys}"), 404, "not-found")


def test_what_belongs_to_something_with_a_name_is_found_by_the_name(as_admin: TestClient, jobs: dict[str, Any]) -> None:
    assert as_admin.get("/v1/fine-tunes/team/tuned/steps").json() == {"items": [], "next": None}
    assert as_admin.get("/v1/evaluations/first/predictions").json() == {"items": [], "next": None}
    export = as_admin.get("/v1/evaluations/first/predictions.jsonl")
    assert jobs["evaluations"]["id"] in export.headers["Content-Disposition"]
    assert as_admin.get("/v1/datasets/team/pages/rows").json()["items"][0]["row"] == 0
    assert as_admin.get("/v1/models/team/adapter/download").status_code == 200
    compared = as_admin.get("/v1/evaluations/compare", params={"a": "first", "b": jobs["evaluations"]["id"]}).json()
    assert compared["a"] == compared["b"] == jobs["evaluations"]["id"]
    cancelled = as_admin.post("/v1/jobs/team/tuned/cancel").json()
    assert (cancelled["id"], cancelled["status"]) == (jobs["fine-tunes"]["id"], "cancelled")
    with as_admin.stream("GET", "/v1/jobs/team/tuned/events") as stream:
        data = [line for line in stream.iter_lines() if line.startswith("data: ")]
    streamed = json.loads(data[-1].removeprefix("data: "))
    assert {name: cancelled[name] for name in streamed} == streamed
    problem(as_admin.get("/v1/evaluations/compare", params={"a": "first", "b": "nothing"}), 404, "not-found")


def test_of_several_jobs_with_a_name_the_latest_is_found(
    as_admin: TestClient, as_user: TestClient, pages: Dataset
) -> None:
    body = BUILD | {"name": "again"}
    first = create(as_admin, "/v1/fine-tunes", body)
    as_admin.post(f"/v1/jobs/{first['id']}/cancel")
    second = create(as_admin, "/v1/fine-tunes", body)
    assert as_admin.get("/v1/fine-tunes/again").json()["id"] == second["id"]
    assert as_admin.get(f"/v1/fine-tunes/{first['id']}").json()["id"] == first["id"]
    evaluation = create(as_user, "/v1/evaluations", EVALUATION | {"name": "again"})
    assert as_admin.get("/v1/jobs/again").json()["id"] == evaluation["id"]
    assert as_user.get("/v1/jobs/again").json()["id"] == evaluation["id"]
    newest = create(as_admin, "/v1/evaluations", EVALUATION | {"name": "again"})
    assert as_user.get("/v1/jobs/again").json()["id"] == evaluation["id"], "the latest of the caller's own"
    assert as_user.get("/v1/evaluations/again").json()["id"] == newest["id"], "everyone may read every evaluation"
    assert as_admin.get("/v1/fine-tunes/again").json()["id"] == second["id"]


def test_models_and_datasets_are_found_by_name_and_id_in_paths(
    as_admin: TestClient, pages: Dataset, adapter: Model
) -> None:
    for path, thing in (("models", adapter), ("datasets", pages)):
        for reference in (str(thing.id), thing.name, thing.name.replace("/", "%2F")):
            assert as_admin.get(f"/v1/{path}/{reference}").json()["id"] == str(thing.id)
        for nobodys in (NOTHING, "nothing", thing.name.split("/")[0]):
            problem(as_admin.get(f"/v1/{path}/{nobodys}"), 404, "not-found")
        [listed] = walk(as_admin, f"/v1/{path}", name=thing.name)
        assert listed["id"] == str(thing.id)
        assert walk(as_admin, f"/v1/{path}", name="nothing") == []
    for near, name in (("models/Start", "starter"), ("datasets/team/page", "team/pages")):
        detail = problem(as_admin.get(f"/v1/{near}"), 404, "not-found")["detail"]
        assert detail.endswith(f"with this name or id; did you mean `{name}`?")
    assert as_admin.delete("/v1/datasets/team/pages").status_code == 204
    problem(as_admin.get("/v1/datasets/team/pages"), 404, "not-found")


def test_models_and_datasets_are_found_by_id_in_fields_and_shown_by_name(as_admin: TestClient, pages: Dataset) -> None:
    starter = as_admin.get("/v1/models/starter").json()["id"]
    both = {"model": starter, "dataset": str(pages.id)}
    jobs = [
        create(as_admin, "/v1/generations", REQUEST | {"model": starter}),
        create(as_admin, "/v1/evaluations", both | {"split": "train"}),
        create(as_admin, "/v1/fine-tunes", both | {"name": "tuned"}),
        create(as_admin, "/v1/quantizations", both | {"name": "small", "report_rows": 0}),
    ]
    assert {job["model"] for job in jobs} == {"starter"}
    assert {job["dataset"] for job in jobs[1:]} == {"team/pages"}
    batch = create(as_admin, "/v1/generations/batch", {"items": [REQUEST, REQUEST | {"model": starter}]})
    assert {job["model"] for job in walk(as_admin, "/v1/generations", batch_id=batch["id"])} == {"starter"}
    board = as_admin.get("/v1/leaderboard", params={"dataset": str(pages.id)}).json()
    assert board["dataset"] == "team/pages"


@pytest.mark.parametrize("field", ["model", "dataset"])
def test_a_field_that_names_nothing_says_which_was_probably_meant(
    as_admin: TestClient, pages: Dataset, field: str
) -> None:
    near, name = {"model": ("Start", "starter"), "dataset": ("team/page", "team/pages")}[field]
    for path, body in (
        ("/v1/evaluations", EVALUATION),
        ("/v1/fine-tunes", BUILD | {"name": "new"}),
        ("/v1/quantizations", BUILD | {"name": "new"}),
    ):
        document = problem(as_admin.post(path, json=body | {field: near}), 422, "invalid", field)
        assert f"there is no {field} with this name or id; did you mean `{name}`?" in document["detail"]
        for nobodys in ("nothing-like-it", NOTHING):
            document = problem(as_admin.post(path, json=body | {field: nobodys}), 422, "invalid", field)
            assert "did you mean" not in document["detail"]
            assert nobodys not in document["detail"]


def test_an_id_comes_before_a_name(as_admin: TestClient, make_model: Callable[..., Model]) -> None:
    first = make_model("first")
    second = make_model(str(first.id))
    assert as_admin.get(f"/v1/models/{first.id}").json()["name"] == "first"
    assert as_admin.get(f"/v1/models/{second.id}").json()["name"] == str(first.id)
    third = make_model(NOTHING)
    assert as_admin.get(f"/v1/models/{NOTHING}").json()["id"] == str(third.id)


def test_the_list_of_jobs_shows_name_model_and_dataset(
    as_admin: TestClient, jobs: dict[str, Any], pages: Dataset
) -> None:
    generation = submit(as_admin)
    baseline = create(as_admin, "/v1/evaluations", EVALUATION | {"model": "baseline:constant"})
    shown = {
        job["id"]: (job["kind"], job["name"], job["model"], job["dataset"])
        for job in walk(as_admin, "/v1/jobs", limit=2)
    }
    assert shown == {
        jobs["fine-tunes"]["id"]: ("fine-tune", "team/tuned", "starter", "team/pages"),
        jobs["quantizations"]["id"]: ("quantization", "small", "starter", "team/pages"),
        jobs["merges"]["id"]: ("merge", "merged", "team/adapter", None),
        jobs["evaluations"]["id"]: ("evaluation", "first", "starter", "team/pages"),
        generation["id"]: ("generation", None, "starter", None),
        baseline["id"]: ("evaluation", None, "baseline:constant", "team/pages"),
    }


def test_jobs_are_selected_by_name_model_and_dataset(
    as_admin: TestClient, as_user: TestClient, worker: Worker, jobs: dict[str, Any], pages: Dataset
) -> None:
    mine = [submit(as_user)["id"], *submit_batch(as_user, 4)["job_ids"]]
    worker.finish(mine[0])
    adapters = [create(as_admin, "/v1/generations", REQUEST | {"model": "team/adapter"})["id"] for _ in range(2)]
    baseline = create(as_admin, "/v1/evaluations", EVALUATION | {"model": "baseline:constant"})["id"]
    named = {kind: job["id"] for kind, job in jobs.items()}
    starter = as_admin.get("/v1/models/starter").json()["id"]

    def ids(client: TestClient, path: str, **query: object) -> list[str]:
        pages = [walk(client, path, limit=limit, **query) for limit in (1, 3, 100)]
        assert pages[0] == pages[1] == pages[2]
        return [job["id"] for job in pages[0]]

    on_starter = [named["fine-tunes"], named["quantizations"], named["evaluations"], *mine]
    for model in ("starter", starter):
        assert ids(as_admin, "/v1/jobs", model=model) == on_starter[::-1]
        assert ids(as_user, "/v1/jobs", model=model) == mine[::-1]
        assert ids(as_user, "/v1/jobs", model=model, status="succeeded") == [mine[0]]
        assert ids(as_admin, "/v1/jobs", model=model, kind="evaluation") == [named["evaluations"]]
        assert ids(as_user, "/v1/generations", model=model) == mine[::-1]
        assert ids(as_admin, "/v1/fine-tunes", model=model) == [named["fine-tunes"]]
        assert ids(as_admin, "/v1/evaluations", model=model) == [named["evaluations"]]
    assert ids(as_admin, "/v1/jobs", model="team/adapter") == [*adapters[::-1], named["merges"]]
    assert ids(as_admin, "/v1/merges", model="team/adapter") == ids(as_admin, "/v1/merges") == [named["merges"]]
    assert ids(as_admin, "/v1/jobs", model="baseline:constant") == [baseline]
    for dataset in ("team/pages", str(pages.id)):
        on_dataset = [named["fine-tunes"], named["quantizations"], named["evaluations"], baseline]
        assert ids(as_admin, "/v1/jobs", dataset=dataset) == on_dataset[::-1]
        assert ids(as_admin, "/v1/jobs", dataset=dataset, model="baseline:constant") == [baseline]
        assert ids(as_admin, "/v1/quantizations", dataset=dataset) == [named["quantizations"]]
        assert ids(as_admin, "/v1/evaluations", dataset=dataset) == [baseline, named["evaluations"]]
    for kind, name in MADE.items():
        assert ids(as_admin, "/v1/jobs", name=name) == ids(as_admin, f"/v1/{kind}", name=name) == [named[kind]]
        assert ids(as_user, "/v1/jobs", name=name) == []
    for nothing in ({"name": "nothing"}, {"model": "nothing"}, {"dataset": "nothing"}, {"model": NOTHING}):
        assert ids(as_admin, "/v1/jobs", **nothing) == []


def test_the_jobs_of_a_deleted_dataset_are_still_found_by_its_name(as_admin: TestClient, pages: Dataset) -> None:
    job = create(as_admin, "/v1/evaluations", EVALUATION)["id"]
    as_admin.post(f"/v1/jobs/{job}/cancel")
    assert as_admin.delete("/v1/datasets/team/pages").status_code == 204
    for path in ("/v1/jobs", "/v1/evaluations"):
        assert [one["id"] for one in walk(as_admin, path, dataset="team/pages")] == [job]


def test_a_kind_is_the_word_of_its_path(as_admin: TestClient, jobs: dict[str, Any]) -> None:
    assert {job["kind"] for job in walk(as_admin, "/v1/jobs")} == {
        "fine-tune",
        "quantization",
        "merge",
        "evaluation",
    }
    for word in ("fine-tune", "fine_tune"):
        assert [job["id"] for job in walk(as_admin, "/v1/jobs", kind=word)] == [jobs["fine-tunes"]["id"]]
    document = problem(as_admin.get("/v1/jobs?kind=poem"), 422, "invalid", "kind")
    assert "must be one of generation, evaluation, fine-tune, merge, quantization" in document["detail"]


def test_every_kind_has_a_list_and_a_path_of_its_own() -> None:
    paths = create_app().openapi()["paths"]
    for kind in JobKind:
        assert "get" in paths[f"/v1/{kind.word}s"]
        assert any(re.fullmatch(rf"/v1/{kind.word}s/{{\w+}}", path) for path in paths)


def test_a_name_is_not_mistaken_for_what_belongs_to_another() -> None:
    """Each last segment after something that has a name is known, so that a wrong method there is 405."""
    named = ("api-keys", "datasets", "evaluations", "fine-tunes", "jobs", "merges", "models", "quantizations")
    for path in create_app().openapi()["paths"]:
        match = re.fullmatch(r"/v1/([\w-]+)/\{\w+\}/([\w.{}-]+)", path)
        if match and match[1] in named:
            assert re.fullmatch(PARTS, match[2]), path


@on_sqlite
def test_a_slip_after_an_id_is_an_unknown_path_and_a_wrong_method_is_405(as_user: TestClient) -> None:
    job = submit(as_user)["id"]
    detail = problem(as_user.post(f"/v1/jobs/{job}/cancle"), 404, "not-found")["detail"]
    assert detail == "there is no such path; did you mean `/v1/jobs/{job}/cancel`?"
    for reference in (job, "a-name", "a/name"):
        assert as_user.get(f"/v1/jobs/{reference}/cancel").headers["Allow"] == "POST"
        assert as_user.put(f"/v1/jobs/{reference}").headers["Allow"] == "GET, HEAD"


def test_a_key_is_revoked_by_its_name_or_id(
    as_admin: TestClient, make_key: Callable[[Role], tuple[ApiKey, str]], database: Database
) -> None:
    ids = {name: create(as_admin, "/v1/api-keys", {"name": name}, 201)["id"] for name in ("ci/linux", "Anna's laptop")}

    def valid() -> set[str]:
        return {key["name"] for key in walk(as_admin, "/v1/api-keys") if key["revoked_at"] is None} & ids.keys()

    assert [key["id"] for key in walk(as_admin, "/v1/api-keys", name="ci/linux")] == [ids["ci/linux"]]
    assert as_admin.delete("/v1/api-keys/ci/linux").status_code == 204
    assert valid() == {"Anna's laptop"}
    assert as_admin.delete(f"/v1/api-keys/{ids['ci/linux']}").status_code == 204, "again, by its id"
    second = create(as_admin, "/v1/api-keys", {"name": "Anna's laptop"}, 201)["id"]
    document = problem(as_admin.delete("/v1/api-keys/Anna's%20laptop"), 409, "conflict")
    assert ids["Anna's laptop"] in document["detail"]
    assert second in document["detail"]
    assert valid() == {"Anna's laptop"}
    assert as_admin.delete(f"/v1/api-keys/{second}").status_code == 204
    assert as_admin.delete("/v1/api-keys/Anna's%20laptop").status_code == 204, "only one with the name is valid now"
    assert valid() == set()
    problem(as_admin.delete("/v1/api-keys/nobody"), 404, "not-found")
    with database.read() as session:
        assert all(one.revoked_at for one in api_keys.find(session, "Anna's laptop"))
