import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import models.starter
from models.loading.loader import describe, load, loaded_bytes
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


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_size": 64},
        {"num_hidden_layers": None},
        {"hidden_act": "of the future"},
        {"rope_scaling": {"rope_type": "of the future"}, "rope_parameters": {"rope_type": "of the future"}},
        {"dtype": "of the future"},
        {"vocab_size": -1},
        {"num_attention_heads": 0},
        {"attention_bias": True},
    ],
    ids=str,
)
def test_a_configuration_that_does_not_fit_the_weights_is_the_models_fault_and_names_no_path(
    local_copy: Path, fields: dict[str, object]
) -> None:
    config = json.loads((local_copy / "config.json").read_text()) | fields
    (local_copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelLoadError, match=r"^copy: ") as caught:
        load(ModelRef(Source.LOCAL, str(local_copy)), device="cpu")
    assert str(local_copy) not in str(caught.value)


def test_weights_of_modules_that_the_model_does_not_have_are_left_unread(local_copy: Path) -> None:
    """Such as layers that are for training alone."""
    config = json.loads((local_copy / "config.json").read_text()) | {"num_hidden_layers": 1}
    (local_copy / "config.json").write_text(json.dumps(config))
    assert load(ModelRef(Source.LOCAL, str(local_copy)), device="cpu")


def test_a_bias_that_the_configuration_does_not_have_is_refused(local_copy: Path) -> None:
    weights = load_file(local_copy / "model.safetensors")
    weights["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(1)
    save_file(weights, local_copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"does not fit the weights model\.layers\.0\.self_attn\.q_proj\.bias$"):
        load(ModelRef(Source.LOCAL, str(local_copy)), device="cpu")


def test_a_broken_tokenizer_file_is_refused_and_names_no_path(local_copy: Path) -> None:
    (local_copy / "tokenizer.json").write_text("{")
    with pytest.raises(ModelLoadError, match=r"^copy: the tokenizer can't be loaded") as caught:
        load(ModelRef(Source.LOCAL, str(local_copy)), device="cpu")
    assert str(local_copy) not in str(caught.value)


def test_the_name_of_a_model_stands_in_messages_and_is_no_part_of_which_model_it_is(tmp_path: Path) -> None:
    ref = ModelRef(Source.LOCAL, str(tmp_path / "1"), name="my-model")
    with pytest.raises(ModelLoadError, match=r"^my-model: ") as caught:
        load(ref)
    assert str(tmp_path) not in str(caught.value)
    assert ref == ModelRef(Source.LOCAL, str(tmp_path / "1"))


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
def test_full_memory_is_not_the_models_fault(
    local_copy: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("models.loading.loader.AutoModelForCausalLM.from_pretrained", full)
    with pytest.raises(type(error)) as caught:
        load(ModelRef(Source.LOCAL, str(local_copy)), device="cpu")
    assert caught.value is error


@pytest.mark.parametrize("method", ["awq", "fp8", "bitsandbytes", "compressed-tensors", None])
def test_weights_quantized_by_another_method_are_refused_by_its_name(local_copy: Path, method: str | None) -> None:
    config = json.loads((local_copy / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "bits": 4}
    (local_copy / "config.json").write_text(json.dumps(config))
    ref = ModelRef(Source.LOCAL, str(local_copy))
    for function in (describe, load):
        with pytest.raises(ModelLoadError, match=f"quantized by {method or 'an unnamed method'}.*use the model that"):
            function(ref)


def test_weights_in_two_layouts_are_counted_once(local_copy: Path) -> None:
    shutil.copy(local_copy / "model.safetensors", local_copy / "consolidated.safetensors")
    shutil.copy(local_copy / "model.safetensors", local_copy / "model-00001-of-00001.safetensors")
    (local_copy / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-00001-of-00001.safetensors"}}'
    )
    size = (local_copy / "model.safetensors").stat().st_size
    ref = ModelRef(Source.LOCAL, str(local_copy))
    assert describe(ref).weight_bytes == size
    assert loaded_bytes(ref, "cpu") == pytest.approx(2 * size, rel=0.01), "float32 instead of bfloat16"


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


def test_the_weights_of_a_hub_model_are_downloaded_in_one_layout(hub: str, local_copy: Path, tmp_path: Path) -> None:
    (local_copy / "model.safetensors").rename(local_copy / "model-00001-of-00001.safetensors")
    tensors = safe_open(local_copy / "model-00001-of-00001.safetensors", "pt").keys()
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, "model-00001-of-00001.safetensors")}
    (local_copy / "model.safetensors.index.json").write_text(json.dumps(index))
    (local_copy / "original").mkdir()
    for name in ("consolidated.safetensors", "original/model.safetensors", "original/tokenizer.model"):
        (local_copy / name).write_bytes(b"the same weights in another layout")
    loaded = load_from_hub(hub, "some/model", tmp_path / "cache")
    assert loaded.returncode == 0, loaded.stderr
    [snapshot] = (tmp_path / "cache").glob("*/snapshots/*")
    fetched = {file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*") if file.is_file()}
    assert {name for name in fetched if name.endswith(".safetensors")} == {"model-00001-of-00001.safetensors"}
    assert not any("/" in name for name in fetched)


def test_a_model_missing_on_the_hub_is_named(hub: str, tmp_path: Path) -> None:
    loaded = load_from_hub(hub, "no/such", tmp_path / "cache")
    assert "NotOnHub: no/such: the hub has no model of this name" in loaded.stderr
