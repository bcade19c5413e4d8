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


def test_the_splits_of_a_hub_dataset_are_kept(as_admin: TestClient, hub: Path) -> None:
    (hub / "README.md").write_text("# Pages")
    (hub / "pages.py").write_text("raise SystemExit")
    (hub / "dataset_infos.json").write_text("{}")
    (hub / "data" / "test.json").write_text(json.dumps(ROWS[:1]))
    (hub / "data" / "train-0.json").write_text("\n".join(map(json.dumps, ROWS[:5])))
    (hub / "data" / "train-1.json").write_text(json.dumps(ROWS[5:]))
    response = fetch(as_admin)
    assert response.status_code == 201, response.text
    created = response.json()
    assert (created["source"], created["location"], created["revision"]) == ("hub", "some/pages", COMMIT)
    assert [row["output"] for row in pages_of(as_admin, created["id"])] == [row["output"] for row in ROWS]
    assert [row["output"] for row in pages_of(as_admin, created["id"], split="test")] == [ROWS[0]["output"]]
    assert (created["config"], created["train_split"], created["test_split"]) == (None, "train", "test")
    assert (created["test_rows"], created["overlapping_rows"]) == (1, 1)
    other = fetch(as_admin, name="other", test_fraction=0.25).json()
    assert (other["train_rows"], other["test_rows"], other["test_split"]) == (6, 2, None)


def write(file: Path, *texts: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps({"prompt": text, "completion": text}) + "\n" for text in texts))


CARD = """---
configs:
- config_name: main
  data_files:
  - {split: train, path: main/tr*.jsonl}
  - {split: test, path: main/te*.jsonl}
- config_name: socratic
  data_dir: socratic
---
# Questions
"""


@pytest.mark.parametrize("card", [None, CARD])
def test_configurations_are_not_mixed(as_admin: TestClient, hub: Path, card: str | None) -> None:
    if card:
        (hub / "README.md").write_text(card)
    for config in "main", "socratic":
        write(hub / config / "train.jsonl", f"{config} a", f"{config} b")
        write(hub / config / "test.jsonl", f"{config} c")
    for refused in fetch(as_admin), fetch(as_admin, config="third"):
        assert problem(refused, 422, "invalid", field="config")["detail"].endswith("are: main, socratic")
    for config in "main", "socratic":
        created = fetch(as_admin, name=config, config=config).json()
        assert (created["config"], created["test_split"], created["overlapping_rows"]) == (config, "test", 0)
        rows = [pages_of(as_admin, created["id"], split=split) for split in ("train", "test")]
        assert [[row["output"] for row in split] for split in rows] == [[f"{config} a", f"{config} b"], [f"{config} c"]]


def test_a_cards_default_configuration_is_used(as_admin: TestClient, hub: Path) -> None:
    (hub / "README.md").write_text(CARD.replace("config_name: socratic", "config_name: socratic\n  default: true"))
    write(hub / "main" / "train.jsonl", "a")
    write(hub / "socratic" / "train.jsonl", "b")
    created = fetch(as_admin).json()
    assert (created["config"], created["train_rows"], created["test_rows"]) == ("socratic", 1, 0)


def test_other_splits_are_used_by_name(as_admin: TestClient, hub: Path) -> None:
    for split in "train_sft", "test_sft", "train_gen":
        write(hub / "data" / f"{split}-00000-of-00001.jsonl", split)
    listed = "the splits are: test_sft, train_gen, train_sft"
    assert listed in problem(fetch(as_admin), 422, "invalid", field="train_split")["detail"]
    assert listed in problem(fetch(as_admin, train_split="no"), 422, "invalid", field="train_split")["detail"]
    answer = fetch(as_admin, train_split="train_sft", test_split="no")
    assert listed in problem(answer, 422, "invalid", field="test_split")["detail"]
    answer = fetch(as_admin, train_split="train_sft", test_split="train_sft")
    problem(answer, 422, "invalid", field="test_split")
    created = fetch(as_admin, train_split="train_sft", test_split="test_sft").json()
    assert (created["train_split"], created["test_split"]) == ("train_sft", "test_sft")
    rows = [pages_of(as_admin, created["id"], split=split) for split in ("train", "test")]
    assert [[row["output"] for row in split] for split in rows] == [["train_sft"], ["test_sft"]]


def test_a_validation_split_is_the_test_split_if_there_is_no_other(as_admin: TestClient, hub: Path) -> None:
    write(hub / "train.jsonl", "a")
    write(hub / "valid.jsonl", "b")
    assert fetch(as_admin).json()["test_split"] == "validation"
    problem(fetch(as_admin, name="b", test_split="validation", test_fraction=0.5), 422, "invalid", field="test_split")


@pytest.mark.parametrize("path", ["/etc/*", "../*", "https://example.com/a.jsonl", "zip://a::b.zip"])
def test_a_card_that_names_other_files_is_refused(as_admin: TestClient, hub: Path, path: str) -> None:
    (hub / "README.md").write_text(f"---\nconfigs:\n- config_name: main\n  data_files: '{path}'\n---\n")
    write(hub / "train.jsonl", "a")
    assert "outside" in problem(fetch(as_admin), 422, "invalid", field="hub")["detail"]


@pytest.mark.parametrize("card", ["---\n[\n---\n", "---\nconfigs: 7\n---\n", "---\nconfigs: [{data_dir: a}]\n---\n"])
def test_a_card_that_cannot_be_read_is_refused(as_admin: TestClient, hub: Path, card: str) -> None:
    (hub / "README.md").write_text(card)
    write(hub / "train.jsonl", "a")
    problem(fetch(as_admin), 422, "invalid", field="hub")


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
    assert "line 1" in problem(fetch(as_admin), 422, "invalid", field="train.jsonl, row 1 (line 1)")["detail"]
    (hub / "train.jsonl").write_text("")
    problem(fetch(as_admin), 422, "invalid", field="hub")
    (hub / "train.jsonl").write_text('{"instruction": "a"}')
    problem(fetch(as_admin), 422, "invalid", field="columns")
    (hub / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a"}')
    problem(fetch(as_admin), 422, "invalid", field="train.jsonl, row 2 (line 2), completion")


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
