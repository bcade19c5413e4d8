"""Datasets over HTTP: uploading, reading rows, deleting."""

import gzip
import json
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from api.datasets import storing
from db.queries import datasets
from db.session import Database
from db.tables.datasets import Dataset
from db.vocabulary import Role, Split
from pagewright.artifacts import get_artifacts
from tests.api.conftest import Server, Worker
from tests.api.datasets.helpers import COMMIT, DATASETS, ROWS, contents, create, pages_of, post
from tests.api.helpers import problem, walk
from tests.disk import files_no_larger_than

ALPACA = os.environ.get("PAGEWRIGHT_ALPACA_WEBGEN")


def test_an_uploaded_dataset_and_its_rows_are_shown(as_admin: TestClient, as_user: TestClient) -> None:
    columns = {"instruction": "question", "output": "answer"}
    rows = [{"question": f"Ask {number}.", "answer": f"<p>{number}", "id": number} for number in range(8)]
    created = create(as_admin, rows, "my pages.json", columns=json.dumps(columns), test_fraction=0.25, seed=2**32 - 1)
    assert created == {
        "id": ANY,
        "name": "pages",
        "source": "upload",
        "location": "my pages.json",
        "revision": None,
        "columns": columns,
        "config": None,
        "train_split": None,
        "test_split": None,
        "unused_columns": {"id": 8},
        "test_fraction": 0.25,
        "seed": 2**32 - 1,
        "skipped_rows": 0,
        "skipped": [],
        "train_rows": 6,
        "test_rows": 2,
        "overlapping_rows": 0,
        "created_at": ANY,
    }
    assert as_user.get(f"{DATASETS}/{created['id']}").json() == created
    train = pages_of(as_user, created["id"], limit=4)
    test = pages_of(as_user, created["id"], split="test", limit=1)
    assert [row["row"] for row in train] == list(range(6))
    assert [row["row"] for row in test] == [0, 1]
    stored = sorted((row["instruction"], row["input"], row["output"]) for row in train + test)
    assert stored == [(row["question"], "", row["answer"]) for row in rows]


def test_by_default_all_rows_are_train_rows_in_their_order(as_admin: TestClient) -> None:
    created = create(as_admin)
    assert (created["test_fraction"], created["seed"]) == (0.0, 42)
    assert (created["train_rows"], created["test_rows"], created["overlapping_rows"]) == (8, 0, 0)
    assert created["unused_columns"] == {}
    assert pages_of(as_admin, created["id"]) == [
        {"row": number, "context": [], "learn": True, **row} for number, row in enumerate(ROWS)
    ]
    assert pages_of(as_admin, created["id"], split="test") == []


def test_the_stored_files_have_the_columns_that_training_reads(as_admin: TestClient, database: Database) -> None:
    created = create(as_admin, test_fraction=0.5)
    with database.read() as session:
        dataset = datasets.get_by_name(session, "pages")
    assert dataset is not None
    for split in Split:
        with get_artifacts().open(datasets.split_file(dataset.sha256, split)) as file:
            table = pq.read_table(file)
        assert table.column_names == ["instruction", "input", "output"]
        assert table.num_rows == created[f"{split.value}_rows"]


def test_a_chat_is_shown_with_the_messages_before_its_instruction(as_admin: TestClient, as_user: TestClient) -> None:
    def message(role: str, content: str, **more: object) -> dict[str, object]:
        return {"role": role, "content": content, **more}

    chat = [message("user", "a"), message("assistant", "b", weight=0), message("user", "c"), message("assistant", "d")]
    rows = [{"messages": chat[:2]}, {"messages": [message("system", "e"), *chat]}]
    rows[0]["messages"] = [message("user", "a"), message("assistant", "b", name="x")]
    created = create(as_admin, rows)
    assert (created["columns"], created["unused_columns"]) == ({"messages": "messages"}, {"messages[].name": 1})
    assert pages_of(as_user, created["id"]) == [
        {"row": 0, "context": [], "instruction": "a", "input": "", "output": "b", "learn": True},
        {
            "row": 1,
            "context": [
                message("system", "e", learn=True),
                message("user", "a", learn=True),
                message("assistant", "b", learn=False),
            ],
            "instruction": "c",
            "input": "",
            "output": "d",
            "learn": True,
        },
    ]


def test_rows_whose_earlier_turns_differ_do_not_overlap(as_admin: TestClient) -> None:
    def chats(first: list[str]) -> list[dict[str, object]]:
        return [{"instruction": "a", "output": "b", "history": [[text, "c"]]} for text in first]

    assert create(as_admin, chats(["d", "e"]), name="different", test_fraction=0.5)["overlapping_rows"] == 0
    assert create(as_admin, chats(["d", " d\n"]), name="equal", test_fraction=0.5)["overlapping_rows"] == 1


def test_rows_that_are_in_both_splits_are_counted(as_admin: TestClient) -> None:
    rows = [{"prompt": "Create  a page." + " " * number, "completion": "<p>\n"} for number in range(4)]
    assert create(as_admin, rows, test_fraction=0.5)["overlapping_rows"] == 2


def test_pages_of_rows_cross_row_groups(as_admin: TestClient) -> None:
    rows = [{"instruction": f"Create page {number}.", "output": "<p>"} for number in range(2500)]
    path = f"{DATASETS}/{create(as_admin, rows)['id']}/rows"
    for after, limit, expected in (
        (-1, 2, [0, 1]),
        (998, 3, [999, 1000, 1001]),
        (999, 1, [1000]),
        (2497, 10, [2498, 2499]),
        (2499, 10, []),
        (2**31 - 1, 10, []),
    ):
        page = as_admin.get(path, params={"after": after, "limit": limit}).json()
        assert [row["row"] for row in page["items"]] == expected
        assert [row["instruction"] for row in page["items"]] == [f"Create page {number}." for number in expected]
        assert page["next"] == (expected[-1] if expected and expected[-1] < 2499 else None)


def test_datasets_are_listed_newest_first(as_admin: TestClient, as_user: TestClient) -> None:
    created = [create(as_admin, name=f"pages-{number}") for number in range(3)]
    assert walk(as_user, DATASETS, limit=2) == created[::-1]


@pytest.mark.skipif(ALPACA is None, reason="PAGEWRIGHT_ALPACA_WEBGEN names no file")
def test_the_original_experiments_dataset_is_split_into_396_and_132_rows(as_admin: TestClient) -> None:
    content = Path(str(ALPACA)).read_bytes()
    created = create(as_admin, content, "alpaca.json", test_fraction=0.25, seed=123)
    assert (created["train_rows"], created["test_rows"]) == (396, 132)


def test_equal_rows_are_stored_once_and_deleted_with_their_last_dataset(as_admin: TestClient) -> None:
    first, second, other = (
        create(as_admin, name="first"),
        create(as_admin, "\n".join(map(json.dumps, ROWS)).encode(), "pages.jsonl", name="second", seed=1),
        create(as_admin, name="other", test_fraction=0.5),
    )
    assert len(contents()) == 2
    for dataset, left in (first, 2), (second, 1), (other, 0):
        assert as_admin.get(f"{DATASETS}/{dataset['id']}/rows").status_code == 200
        assert as_admin.delete(f"{DATASETS}/{dataset['id']}").status_code == 204
        assert len(contents()) == left


def test_a_deleted_dataset_frees_its_name(as_admin: TestClient) -> None:
    path = f"{DATASETS}/{create(as_admin)['id']}"
    assert as_admin.delete(path).status_code == 204
    for gone in (as_admin.get(path), as_admin.get(f"{path}/rows"), as_admin.delete(path)):
        problem(gone, 404, "not-found")
    assert walk(as_admin, DATASETS) == []
    again = create(as_admin)
    assert pages_of(as_admin, again["id"])[0]["instruction"] == ROWS[0]["instruction"]


def test_a_name_can_be_used_once(as_admin: TestClient) -> None:
    create(as_admin)
    problem(post(as_admin, ROWS[:2]), 409, "conflict", field="name")
    assert len(contents()) == 1


def test_a_dataset_that_loses_the_race_for_its_name_leaves_no_files(
    as_admin: TestClient, database: Database, tmp_path: Path
) -> None:
    from api.datasets.storing import store
    from api.errors import Problem

    kept = create(as_admin)
    for name in "train.parquet", "test.parquet":
        (tmp_path / "loser").mkdir(exist_ok=True)
        (tmp_path / "loser" / name).touch()
    with database.read() as session:
        columns = {
            column.name: getattr(datasets.get_by_name(session, "pages"), column.name) for column in Dataset.__table__.c
        }
    loser = Dataset(**{name: value for name, value in columns.items() if name != "id"} | {"sha256": "0" * 64})
    with pytest.raises(Problem, match="409"):
        store(database, get_artifacts(), loser, tmp_path / "loser")
    assert contents() == [f"datasets/{columns['sha256']}"]
    assert len(pages_of(as_admin, kept["id"])) == 8


def test_files_that_do_not_fit_on_the_disk_leave_nothing_in_the_store(
    as_admin: TestClient, nothing_is_stored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the first of the two files fits, the second does not
    rows = [{"instruction": f"Create page {number}.", "output": random.randbytes(500).hex()} for number in range(100)]
    monkeypatch.setattr(storing, "store", with_little_room(storing.store))
    problem(post(as_admin, rows, test_fraction=0.1), 503, "unavailable")


def with_little_room(store: Callable[..., None]) -> Callable[..., None]:
    """Return `store` with a disk that is full, unlike that of the steps before it."""

    def stored(*arguments: Any) -> None:
        with files_no_larger_than(50_000):
            store(*arguments)

    return stored


def test_a_dataset_cannot_be_deleted_while_a_job_uses_it(as_admin: TestClient, worker: Worker) -> None:
    path = f"{DATASETS}/{create(as_admin)['id']}"
    fine_tune = {"model": "starter", "dataset": "pages", "name": "new"}
    job = as_admin.post("/v1/fine-tunes", json=fine_tune).json()["id"]
    problem(as_admin.delete(path), 409, "conflict")
    claims = worker.claim(job)
    problem(as_admin.delete(path), 409, "conflict")
    assert as_admin.get(f"{path}/rows").json()["items"]
    worker.fail(claims)
    assert as_admin.delete(path).status_code == 204
    assert as_admin.get(f"/v1/fine-tunes/{job}").json()["dataset"] == "pages"
    problem(as_admin.post("/v1/fine-tunes", json=fine_tune), 422, "invalid", field="dataset")


def test_rows_with_missing_files_are_404(as_admin: TestClient) -> None:
    created = create(as_admin)
    for artifact in contents():
        get_artifacts().delete(artifact)
    problem(as_admin.get(f"{DATASETS}/{created['id']}/rows"), 404, "not-found")
    create(as_admin, name="again")
    assert len(pages_of(as_admin, created["id"])) == 8


def test_an_unavailable_artifact_store_is_503(
    as_admin: TestClient, configure: Callable[..., None], nothing_is_stored: None, tmp_path: Path
) -> None:
    (tmp_path / "a-file").touch()
    configure(artifacts_url=tmp_path / "a-file" / "below")
    problem(post(as_admin), 503, "unavailable")
    configure(artifacts_url=tmp_path / "artifacts")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "é"}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"test_fraction": "1"}, "test_fraction"),
        ({"test_fraction": "-0.1"}, "test_fraction"),
        ({"test_fraction": "nan"}, "test_fraction"),
        ({"test_fraction": "inf"}, "test_fraction"),
        ({"test_fraction": "half"}, "test_fraction"),
        ({"test_fraction": "0.99"}, "test_fraction"),
        ({"seed": "-1"}, "seed"),
        ({"seed": str(2**32)}, "seed"),
        ({"seed": "1.5"}, "seed"),
        ({"seed": "9" * 5000}, "seed"),
        ({"columns": "{"}, "columns"),
        ({"columns": "[]"}, "columns"),
        ({"columns": "{}"}, "columns"),
        ({"columns": "[" * 100_000}, "columns"),
        ({"columns": '{"instruction": "instruction"}'}, "columns"),
        ({"columns": '{"instruction": "instruction", "output": "output", "messages": "messages"}'}, "columns"),
        ({"columns": '{"messages": "messages", "input": "input"}'}, "columns"),
        ({"columns": '{"instruction": 1, "output": "output"}'}, "columns.instruction"),
        ({"columns": '{"instruction": "", "output": "output"}'}, "columns.instruction"),
        ({"columns": '{"instruction": "instruction", "output": "a\\u0000"}'}, "columns.output"),
        ({"columns": '{"instruction": "instruction", "output": "output", "more": "x"}'}, "columns.more"),
        ({"columns": '{"instruction": "instruction", "output": "completion"}'}, "columns.output"),
        ({"columns": '{"messages": "messages"}'}, "columns.messages"),
        ({"columns": '{"messages": "messages", "history": "history"}'}, "columns"),
        ({"columns": '{"system": "system"}'}, "columns"),
        ({"columns": '{"instruction": "output", "output": "output"}'}, "columns"),
        ({"columns": '{"instruction": "instruction", "input": "instruction", "output": "output"}'}, "columns"),
        ({"columns": '{"messages": "messages", "system": "messages"}'}, "columns"),
        ({"columns": '{"instruction": "instruction", "output": "output", "system": "system"}'}, "columns.system"),
        ({"colums": "{}"}, "colums"),
        ({"revision": COMMIT}, "revision"),
        ({"revision": "main"}, "revision"),
        ({"config": "main"}, "config"),
        ({"train_split": "main"}, "train_split"),
        ({"test_split": "main"}, "test_split"),
        ({"encoding": "rot13"}, "encoding"),
        ({"encoding": "idna"}, "encoding"),
        ({"on_invalid": "ignore"}, "on_invalid"),
        ({"hub": "some/pages", "revision": COMMIT}, "hub"),
        ({"hub": "pages"}, "hub"),
        ({"hub": "../some/pages"}, "hub"),
        ({"hub": "https://some/pages"}, "hub"),
        ({"file": "text"}, "file"),
    ],
    ids=lambda value: str(value)[:60],
)
@pytest.mark.usefixtures("nothing_is_stored")
def test_an_invalid_form_field_is_422_and_named(as_admin: TestClient, fields: dict[str, str], field: str) -> None:
    if "file" in fields:
        answer = as_admin.post(DATASETS, data={"name": "pages"}, files={"file": (None, fields["file"])})
    else:
        answer = post(as_admin, **fields)
    problem(answer, 422, "invalid", field=field)


@pytest.mark.parametrize(
    ("rows", "file", "field"),
    [
        ([], "pages.json", "file"),
        (b"", "pages.jsonl", "file"),
        (b"instruction,output\n", "pages.csv", "file"),
        (b"{", "pages.json", "row 1 (line 1)"),
        (b'{"instruction": "a", "output": "b"}\n{', "pages.jsonl", "row 2 (line 2)"),
        (b"instruction,output\na,b,c\n", "pages.csv", "row 1 (line 2)"),
        (b"no parquet", "pages.parquet", "columns"),
        (ROWS, "p" * 500 + ".json", "file"),
        ([{"text": "a"}], "pages.json", "columns"),
        ([7], "pages.json", "row 1 (line 1)"),
        ([{}], "pages.json", "row 1 (line 1), instruction"),
        ([*ROWS, {"instruction": "a", "input": "", "output": " "}], "pages.json", "row 9 (line 1), output"),
        ([{"messages": [{"role": "user", "content": "a"}]}], "pages.json", "row 1 (line 1), messages[0]"),
        ([{"conversations": "a"}], "pages.json", "row 1 (line 1), conversations"),
        ([*ROWS, ROWS[0] | {"history": [["a"]]}], "pages.json", "row 9 (line 1), history[0]"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.usefixtures("nothing_is_stored")
def test_an_invalid_file_is_422_and_the_error_is_located(
    as_admin: TestClient, rows: Any, file: str, field: str
) -> None:
    problem(post(as_admin, rows, file), 422, "invalid", field=field)


def test_invalid_rows_are_skipped_on_request_and_the_dataset_says_which(as_admin: TestClient) -> None:
    content = b'{"instruction": "a", "output": "b"}\n{"instruction": 7, "output": "b"}\n{"instru\n'
    created = create(as_admin, content, on_invalid="skip")
    assert (created["train_rows"], created["skipped_rows"]) == (1, 2)
    assert [error["field"] for error in created["skipped"]] == ["row 2 (line 2), instruction", "row 3 (line 3)"]
    assert as_admin.get(f"{DATASETS}/{created['id']}").json() == created
    problem(post(as_admin, content, name="again"), 422, "invalid", field="row 2 (line 2), instruction")


def test_a_file_is_read_by_its_content_in_the_encoding_that_is_named(as_admin: TestClient) -> None:
    content = gzip.compress("Instruction;Output;\r\nGrüße;<p>;\r\n;;\r\n".encode("cp1252"))
    problem(post(as_admin, content, "pages.json"), 422, "invalid", field="file")
    problem(post(as_admin, content, "pages.json", encoding="klingon"), 422, "invalid", field="encoding")
    created = create(as_admin, content, "pages.json", encoding="cp1252")
    assert created["columns"] == {"instruction": "Instruction", "output": "Output"}
    assert [row["instruction"] for row in pages_of(as_admin, created["id"])] == ["Grüße"]


@pytest.mark.usefixtures("nothing_is_stored")
def test_the_first_20_of_many_errors_are_listed(as_admin: TestClient) -> None:
    document = problem(
        post(as_admin, [*ROWS, *[ROWS[0] | {"output": ""}] * 100]), 422, "invalid", "row 9 (line 1), output"
    )
    assert [error["field"] for error in document["errors"]] == [f"row {row} (line 1), output" for row in range(9, 29)]
    assert "100" in document["detail"]


@pytest.mark.usefixtures("nothing_is_stored")
def test_a_dataset_needs_a_name_and_one_source(as_admin: TestClient) -> None:
    problem(as_admin.post(DATASETS, files={"name": (None, "pages")}), 422, "invalid", field="file")
    without_revision = {"name": (None, "pages"), "hub": (None, "some/pages")}
    problem(as_admin.post(DATASETS, files=without_revision), 422, "invalid", field="revision")
    problem(as_admin.post(DATASETS, files={"hub": (None, "some/pages")}), 422, "invalid", field="name")


@pytest.mark.parametrize(
    ("content_type", "content", "status", "type"),
    [
        ("application/json", b"{}", 415, "unsupported-media-type"),
        ("application/x-www-form-urlencoded", b"name=pages", 415, "unsupported-media-type"),
        ("multipart/form-dataset; boundary=x", b"", 415, "unsupported-media-type"),
        ("multipart/form-data", b"--x", 400, "malformed"),
        ("multipart/form-data; boundary=x", b"no boundary", 400, "malformed"),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--",
            400,
            "malformed",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + b"n" * 2**20 + b"n\r\n--x--\r\n",
            400,
            "malformed",
        ),
    ],
)
@pytest.mark.usefixtures("nothing_is_stored")
def test_a_body_must_be_a_multipart_form(
    as_admin: TestClient, content_type: str, content: bytes, status: int, type: str
) -> None:
    problem(as_admin.post(DATASETS, content=content, headers={"Content-Type": content_type}), status, type)


@pytest.mark.parametrize(
    ("query", "field"),
    [("split=dev", "split"), ("limit=0", "limit"), ("limit=101", "limit"), ("after=-2", "after"), ("page=1", "page")],
)
def test_an_invalid_query_for_rows_is_422(as_admin: TestClient, query: str, field: str) -> None:
    problem(as_admin.get(f"{DATASETS}/{create(as_admin)['id']}/rows?{query}"), 422, "invalid", field=field)


def test_an_unknown_dataset_is_404(as_admin: TestClient) -> None:
    path = f"{DATASETS}/{COMMIT[:32]}"
    for answer in (as_admin.get(path), as_admin.get(f"{path}/rows"), as_admin.delete(path)):
        problem(answer, 404, "not-found")


def test_concurrent_uploads_of_the_same_content_all_have_their_rows(server: Server) -> None:
    with server.client(Role.ADMIN) as client, ThreadPoolExecutor(6) as threads:
        created = list(threads.map(lambda number: create(client, name=f"d{number}"), range(6)))
        for dataset in created:
            assert len(pages_of(client, dataset["id"])) == len(ROWS)
    assert len(contents()) == 1


def test_concurrent_uploads_and_deletions_of_the_same_content_lose_no_files(server: Server) -> None:
    def come_and_go(worker: int) -> None:
        for number in range(5):
            dataset = create(client, name=f"d{worker}.{number}")
            assert len(pages_of(client, dataset["id"])) == len(ROWS)
            assert client.delete(f"{DATASETS}/{dataset['id']}").status_code == 204

    with server.client(Role.ADMIN) as client, ThreadPoolExecutor(4) as threads:
        list(threads.map(come_and_go, range(4)))
    assert contents() == []
