import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import models.starter
from models.loading.loader import describe, load
from models.loading.refs import ModelLoadError, ModelRef, Source
from tests.hub import serve_hub

STARTER_FOLDER = models.starter.FOLDER
STARTER = ModelRef(Source.BUNDLED, "starter")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def local_copy(tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in (
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ):
        shutil.copy(STARTER_FOLDER / name, folder)
    return folder


def test_the_bundled_model_is_described() -> None:
    description = describe(STARTER)
    assert description.architecture == "LlamaForCausalLM"
    assert description.context_length == 2048
    assert description.weight_bytes == (STARTER_FOLDER / "model.safetensors").stat().st_size


def test_weights_are_float32_on_a_cpu() -> None:
    model, tokenizer = load(STARTER, device="cpu")
    assert model.dtype == torch.float32
    assert not model.training
    assert tokenizer.eos_token_id is not None


def test_a_local_folder_loads_like_the_bundled_model(local_copy: Path) -> None:
    bundled, _ = load(STARTER, device="cpu")
    local, _ = load(ModelRef(Source.LOCAL, str(local_copy)), device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(bundled.parameters(), local.parameters(), strict=True))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="nowhere"):
        load(ModelRef(Source.LOCAL, str(tmp_path / "nowhere")))


def test_pickled_weights_are_not_loaded(local_copy: Path) -> None:
    model, _ = load(ModelRef(Source.LOCAL, str(local_copy)), device="cpu")
    torch.save(model.state_dict(), local_copy / "pytorch_model.bin")
    (local_copy / "model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match="safetensors"):
        load(ModelRef(Source.LOCAL, str(local_copy)))


@pytest.mark.parametrize(
    ("file", "content"),
    [("config.json", "{"), ("config.json", '{"model_type": "of the future"}'), ("model.safetensors", "cut off")],
)
def test_a_broken_file_is_refused_and_the_model_is_named(local_copy: Path, file: str, content: str) -> None:
    (local_copy / file).write_text(content)
    with pytest.raises(ModelLoadError, match="copy"):
        load(ModelRef(Source.LOCAL, str(local_copy)))


def test_code_in_a_models_folder_is_not_run(local_copy: Path, tmp_path: Path) -> None:
    config = json.loads((local_copy / "config.json").read_text())
    config["model_type"] = "unheard-of"
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (local_copy / "config.json").write_text(json.dumps(config))
    (local_copy / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelLoadError):
        load(ModelRef(Source.LOCAL, str(local_copy)))
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def hub(local_copy: Path) -> Iterator[str]:
    with serve_hub("some/model", local_copy, COMMIT) as address:
        yield address


def load_from_hub(hub: str, name: str, cache: Path) -> subprocess.CompletedProcess[str]:
    # In a subprocess, since huggingface_hub reads its address when it is imported.
    code = (
        "from models.loading.refs import ModelRef, Source; from models.loading.loader import load\n"
        f"model, _ = load(ModelRef(Source.HUB, {name!r}, {COMMIT!r}), device='cpu')\n"
        "print(sum(parameter.numel() for parameter in model.parameters()))\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "0"}
    return subprocess.run([sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=False)


def test_only_the_safe_files_of_a_hub_model_are_downloaded(hub: str, local_copy: Path, tmp_path: Path) -> None:
    (local_copy / "pytorch_model.bin").write_bytes(b"pickled")
    (local_copy / "modeling.py").write_text("raise SystemExit")
    loaded = load_from_hub(hub, "some/model", tmp_path / "cache")
    assert loaded.returncode == 0, loaded.stderr
    bundled, _ = load(STARTER, device="cpu")
    assert int(loaded.stdout) == sum(parameter.numel() for parameter in bundled.parameters())
    fetched = {file.name for file in (tmp_path / "cache").rglob("snapshots/*/*")}
    assert "model.safetensors" in fetched
    assert not fetched & {"pytorch_model.bin", "modeling.py"}


def test_a_model_missing_on_the_hub_is_named(hub: str, tmp_path: Path) -> None:
    loaded = load_from_hub(hub, "no/such", tmp_path / "cache")
    assert "ModelLoadError: no/such" in loaded.stderr
