"""A shortened form of the experiment from end to end: the command, against `pagewright up`."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

import models.starter
from tests.archives import unpack
from tests.hub import serve_hub
from tests.processes import COMMAND
from tests.server import running_up
from tests.small_model import make_small

pytestmark = pytest.mark.long

STARTER = models.starter.FOLDER
HELD_OUT = [json.loads(line) for line in STARTER.joinpath("held_out.jsonl").read_text().splitlines()]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHORT = ["--max-steps", "2", "--max-new-tokens", "20", "--training", '{"eval_steps": 2, "max_seq_length": 512}']
QUANTIZATION = '{"group_size": 64, "samples": 16}'
CHAT_TEMPLATE = (
    "{% for message in messages %}<|bos|>{{ message['role'] }}\n{{ message['content'] }}<|eos|>{% endfor %}"
    "{% if add_generation_prompt %}<|bos|>assistant\n{% endif %}"
)
SYSTEMS = ["nearest neighbour", "constant page", "base", "base + LoRA", "GPTQ base", "GPTQ base + LoRA"]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """The original's file where there is one, else some of the starter's rows in its format."""
    if original := os.environ.get("PAGEWRIGHT_ALPACA_WEBGEN"):
        return Path(original)
    file = tmp_path / "pages.json"
    file.write_text(json.dumps(HELD_OUT[:40]))
    return file


def table(printed: str) -> list[list[str]]:
    """The cells of the Markdown table's rows, without its header."""
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines][2:]


def fetch_model(client: httpx.Client, name: str, folder: Path) -> None:
    """The files of a model that was made on the server."""
    items = client.get("/v1/models", params={"limit": 100}).json()["items"]
    [found] = [model["id"] for model in items if model["name"] == name]
    archive = client.get(f"/v1/models/{found}/download").content
    shutil.copytree(unpack(archive, folder.parent / "download"), folder, dirs_exist_ok=True)


def test_a_shortened_experiment_runs_again_on_what_it_made_and_takes_a_gptq_model_of_the_hub(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_hub = tmp_path / "on-hub"
    on_hub.mkdir()
    with serve_hub("some/gptq", on_hub, COMMIT) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-cache"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        with running_up(tmp_path / "data") as (_, client):
            small = tmp_path / "data" / "models" / "small"
            make_small(small)
            (small / "chat_template.jinja").write_text(CHAT_TEMPLATE)

            def experiment(*arguments: str, status: int = 0) -> tuple[str, Any]:
                report = tmp_path / "report"
                ended = subprocess.run(
                    [*COMMAND, "experiment", *SHORT, "--report", str(report), *arguments],
                    env=os.environ
                    | {
                        "PAGEWRIGHT_SERVER_URL": str(client.base_url),
                        "PAGEWRIGHT_API_KEY": client.headers["Authorization"].removeprefix("Bearer "),
                        "PAGEWRIGHT_ALPACA_WEBGEN": str(dataset),
                    },
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert ended.returncode == status, ended.stderr
                results = report / "results.json"
                return ended.stdout + ended.stderr, json.loads(results.read_text()) if results.exists() else None

            refused, _ = experiment("small", "--quantization", '{"group_size": 1024}', status=1)
            assert re.search(r"pagewright experiment: the job \S+ failed: .*group_size", refused)

            whole = ["small", "--quantization", QUANTIZATION]
            printed, results = experiment(*whole, "--first", "2", "--limit", "3")
            rows = table(printed)
            assert [row[:2] for row in rows] == [[size, name] for size in ("first 2", "first 3") for name in SYSTEMS]
            assert all(float(row[5]) >= 0 and float(row[8]) >= 0 for row in rows)
            assert [row[2] for row in rows[: len(SYSTEMS)]] == ["", "", "chat", "chat", "chat", "chat"]
            assert "With the prompt template chat, the page in a completion is scored" in printed
            assert "[15/15]" in printed
            assert "earlier run" not in printed
            assert re.search(r"(met|missed) \([0-9.]+\): base \+ LoRA, 3 rows: chrF above", printed)
            assert results["quantization"]["parameters"]["split"] == "train"
            for fine_tune in results["fine_tunes"]:
                assert [point["step"] for point in fine_tune["curve"]] == [1, 2]
                assert fine_tune["curve"][1]["eval_loss"] is not None
            pages = {page.name: page.read_text() for page in (tmp_path / "report").glob("*.html")}
            assert len(pages) == 1 + len(SYSTEMS)
            assert pages["index.html"].count("<polyline") == 4
            assert pages["gptq-base-lora.html"].count('<section id="row-') == 3

            again, results = experiment(*whole, "--first", "1", "--limit", "1")
            assert again.count("was created by an earlier run") == 3
            assert [row[0] for row in table(again)] == ["first 1"] * 6

            fetch_model(client, results["quantization"]["name"], on_hub)
            printed, results = experiment("some/gptq", "--first", "1", "--limit", "1")
            assert [row[1] for row in table(printed)] == [name for name in SYSTEMS if not name.startswith("base")]
            assert [row[2] for row in table(printed)] == ["", "", "chat", "chat"]
            assert "there is no base in full precision" in printed
            assert (results["model"]["revision"], results["quantization"]) == (COMMIT, None)
