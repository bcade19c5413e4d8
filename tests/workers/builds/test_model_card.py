"""The model cards of what a build worker makes, and that no file for download names a folder of the server."""

import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from db.queries import models
from db.session import Database
from db.tables.datasets import Dataset
from db.vocabulary import ModelKind, ModelSource
from tests.archives import unpack
from tests.databases import on_sqlite
from tests.small_model import make_small
from tests.workers.conftest import page_rows
from workers.builds.fine_tune import fine_tune
from workers.builds.merge import merge
from workers.builds.model_card import FILE, write_model_card
from workers.builds.quantization import quantize
from workers.builds.result import ResultModel
from workers.runtime import Runtime

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TRAINING = {"max_steps": 2, "eval_steps": 1, "learning_rate": 0.001}


@pytest.fixture
def small(tmp_path: Path, database: Database, make_dataset: Callable[..., Dataset]) -> Path:
    """A registered local model, some of whose files name its folder, as those of other programs do."""
    folder = tmp_path / "models" / "small"
    make_small(folder)
    for file, key in (("config.json", "_name_or_path"), ("tokenizer_config.json", "name_or_path")):
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(content | {key: str(folder)}))
    with database.write() as session:
        models.add(session, "small", ModelSource.LOCAL, "small", None)
    make_dataset(page_rows(20), test=page_rows(2))
    return folder


@on_sqlite
def test_each_kind_of_result_has_a_card_of_its_own_and_no_path_of_the_server(
    runtime: Runtime, as_admin: TestClient, tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files(path: str, body: dict[str, Any], run: Callable[..., None]) -> dict[str, str]:
        response = as_admin.post(path, json=body)
        assert response.status_code == 202, response.text
        run(runtime, uuid.UUID(response.json()["id"]))
        assert as_admin.get(response.headers["Location"]).json()["status"] == "succeeded"
        content = as_admin.get(f"/v1/models/{body['name']}/download").content
        downloaded = unpack(content, tmp_path / "downloaded" / str(body["name"]))
        read = {file.name: file.read_bytes() for file in downloaded.iterdir()}
        run_code(downloaded, small, monkeypatch)
        assert len(read) > 4
        assert not [name for name, content in read.items() if str(tmp_path).encode() in content]
        return {name: content.decode() for name, content in read.items() if not name.endswith(".safetensors")}

    tuning = {"model": "small", "dataset": "pages", "name": "tuned", "training": TRAINING}
    adapter = files("/v1/fine-tunes", tuning, fine_tune)
    merged = files("/v1/models/tuned/merge", {"name": "merged"}, merge)
    options = {"group_size": 64, "samples": 20}
    quantizing = {"model": "merged", "dataset": "pages", "name": "smaller", "report_rows": 1, "options": options}
    quantized = files("/v1/quantizations", quantizing, quantize)

    assert json.loads(adapter["adapter_config.json"])["base_model_name_or_path"] == "small"
    assert front_matter(adapter[FILE])["tags"] == ["pagewright", "html", "lora"]
    assert front_matter(merged[FILE])["library_name"] == "transformers"
    assert front_matter(quantized[FILE])["tags"] == ["pagewright", "html", "gptq"]
    for card in (adapter[FILE], merged[FILE], quantized[FILE]):
        assert not front_matter(card).keys() & {"base_model", "base_model_relation", "license"}
        assert "the split `train` of the dataset `pages`, which has 20 rows." in card
        assert re.search(r"^\| small +\| a model of the server's models directory \|$", card, re.MULTILINE)
        assert re.search(r"^\| peft \| [\d.]+ \|$", card, re.MULTILINE)
        assert "### Instruction:\nCreate a page." in card
        assert "More Information Needed" not in card
    assert "| training.learning_rate | 0.001 |" in adapter[FILE]
    assert re.search(r"\| loss on the other split \| [\d.]+ \| 2 \|", adapter[FILE])
    assert "| quantization.group_size | 64 |" in quantized[FILE]
    assert re.search(r"^\| gptq \| 1 \| [\d.]+ \|", quantized[FILE], re.MULTILINE)


@on_sqlite
def test_a_card_names_the_base_model_on_the_hub_at_its_commit(database: Database, tmp_path: Path) -> None:
    with database.write() as session:
        base = models.add(session, "mine", ModelSource.HUB, "owner/name", "main", COMMIT)
        assert base is not None
        result = ResultModel(
            "tuned", ModelKind.ADAPTER, base.id, None, "chat", {"system": "Write HTML | only.", "lora": {"r": 8}}
        )
        write_model_card(session, result, tmp_path)
    card = (tmp_path / FILE).read_text()
    assert front_matter(card) == {
        "base_model": "owner/name",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["pagewright", "html", "lora"],
    }
    assert f'from_pretrained("owner/name", revision="{COMMIT}")' in card
    assert f"| mine | `owner/name` on the Hugging Face hub | {COMMIT} |" in card
    assert "\n    Write HTML | only.\n" in card
    assert "| lora.r | 8 |" in card


def front_matter(card: str) -> dict[str, Any]:
    _, text, _ = card.split("---\n", 2)
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def run_code(downloaded: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the example of a model's card in the folder of its files, with a link to the base model if it needs one."""
    [code] = re.findall(r"```python\n(.*?)```", (downloaded / FILE).read_text(), re.DOTALL)
    if '"small"' in code:
        (downloaded / "small").symlink_to(base)
    monkeypatch.chdir(downloaded)
    exec(code, {})
