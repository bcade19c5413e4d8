"""Datasets from the hub, fetched from a local server that speaks its protocol."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from pagewright.cli.up.parts import free_port
from tests.api.datasets.helpers import COMMIT, DATASETS, ROWS, pages_of
from tests.api.helpers import problem
from tests.hub import serve_hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder with the files of `some/pages`, a dataset on the hub."""
    folder = tmp_path / "some-pages"
    (folder / "data").mkdir(parents=True)
    lies = ["/etc/train.jsonl", "../train.jsonl", "a/../../train.jsonl", "//x/train.jsonl"]
    with serve_hub("some/pages", folder, COMMIT, kind="dataset", lies=lies) as address:
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        yield folder


def fetch(client: TestClient, hub: str = "some/pages", revision: str = COMMIT, **fields: object) -> Any:
    texts = {"name": "pages", "hub": hub, "revision": revision} | fields
    return client.post(DATASETS, files={name: (None, str(value)) for name, value in texts.items()})


def test_only_train_files_of_a_hub_dataset_are_read(as_admin: TestClient, hub: Path) -> None:
    (hub / "README.md").write_text("# Pages")
    (hub / "pages.py").write_text("raise SystemExit")
    (hub / "dataset_infos.json").write_text("{}")
    (hub / "data" / "test.json").write_text("[]")
    (hub / "data" / "train-0.json").write_text("\n".join(map(json.dumps, ROWS[:5])))
    (hub / "data" / "train-1.json").write_text(json.dumps(ROWS[5:]))
    response = fetch(as_admin)
    assert response.status_code == 201, response.text
    created = response.json()
    assert (created["source"], created["location"], created["revision"]) == ("hub", "some/pages", COMMIT)
    assert [row["output"] for row in pages_of(as_admin, created["id"])] == [row["output"] for row in ROWS]


def test_all_files_of_a_hub_dataset_without_train_files_are_read(as_admin: TestClient, hub: Path) -> None:
    (hub / "a.csv").write_text("prompt,completion,id\nNA,007,1\n")
    (hub / "b.jsonl").write_text(json.dumps({"prompt": "Restrain me.", "completion": "b", "id": 2}))
    pq.write_table(pa.table({"prompt": ["c"], "completion": ["d"], "id": [3], "more": ["e"]}), hub / "c.parquet")
    response = fetch(as_admin, test_fraction=0.5)
    assert response.status_code == 201, response.text
    assert (response.json()["train_rows"], response.json()["test_rows"]) == (1, 2)
    assert response.json()["unused_columns"] == {"id": 3, "more": 1}


def test_chats_of_the_hub_are_read(as_admin: TestClient, hub: Path) -> None:
    turns = [("human", "a"), ("gpt", "b"), ("human", "c"), ("gpt", "d")]
    chat = [{"from": role, "value": text} for role, text in turns]
    pq.write_table(pa.Table.from_pylist([{"conversations": chat, "system": "e"}]), hub / "train.parquet")
    response = fetch(as_admin)
    assert response.status_code == 201, response.text
    [row] = pages_of(as_admin, response.json()["id"])
    assert [message["content"] for message in row["context"]] == ["e", "a", "b"]
    assert (row["instruction"], row["output"]) == ("c", "d")


@pytest.mark.usefixtures("nothing_is_stored")
def test_a_dataset_or_commit_that_the_hub_lacks_is_422(as_admin: TestClient, hub: Path) -> None:
    problem(fetch(as_admin), 422, "invalid", field="hub")
    problem(fetch(as_admin, hub="no/such"), 422, "invalid", field="hub")
    problem(fetch(as_admin, revision="f" * 40), 422, "invalid", field="revision")
    (hub / "train.jsonl").write_text("{")
    assert "train.jsonl: line 1" in problem(fetch(as_admin), 422, "invalid", field="hub")["detail"]
    (hub / "train.jsonl").write_text("")
    problem(fetch(as_admin), 422, "invalid", field="hub")
    (hub / "train.jsonl").write_text('{"instruction": "a"}')
    problem(fetch(as_admin), 422, "invalid", field="columns")
    (hub / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a"}')
    problem(fetch(as_admin), 422, "invalid", field="rows[1].completion")


@pytest.mark.usefixtures("nothing_is_stored")
def test_a_hub_dataset_has_the_same_size_limit_as_an_upload(
    as_admin: TestClient, hub: Path, configure: Callable[..., None]
) -> None:
    (hub / "train.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    configure(max_upload_bytes=100)
    problem(fetch(as_admin), 422, "invalid", field="hub")


@pytest.mark.usefixtures("hub", "nothing_is_stored")
def test_an_unavailable_hub_is_503(as_admin: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    assert "Retry-After" in fetch(as_admin).headers
    problem(fetch(as_admin), 503, "unavailable")
