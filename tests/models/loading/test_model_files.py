"""Models with GPTQ weights, in the layout of today and in that of AutoGPTQ."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.loading.loader import describe, load, loaded_bytes
from models.loading.merging import merge
from models.loading.refs import ModelLoadError, ModelRef
from models.prompts.templates import build_prompt
from models.serving.engine import Sampling
from models.serving.pool import ModelPool
from tests.adapters import generated
from tests.quantized import STARTER, in_autogptq_layout, make_gptq

PROMPT = build_prompt("Create a web page with a heading and a list.")


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return make_gptq(tmp_path_factory.mktemp("gptq"), desc_act=True)


@pytest.fixture(scope="module")
def autogptq(today: ModelRef, tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return in_autogptq_layout(today, tmp_path_factory.mktemp("autogptq") / "model")


@pytest.fixture(params=["today", "autogptq"])
def ref(request: pytest.FixtureRequest) -> ModelRef:
    ref: ModelRef = request.getfixturevalue(request.param)
    return ref


@pytest.fixture
def changed(autogptq: ModelRef, tmp_path: Path) -> Callable[..., ModelRef]:
    """Makes a copy in AutoGPTQ's layout with changed fields in `quantize_config.json`; None removes a field."""

    def change(**fields: object) -> ModelRef:
        folder = tmp_path / "changed"
        shutil.copytree(autogptq.location, folder)
        file = folder / "quantize_config.json"
        content = json.loads(file.read_text()) | fields
        file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
        return replace(autogptq, location=str(folder))

    return change


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model(**tokenizer(PROMPT, return_tensors="pt").to(model.device)).logits
    return logits


def test_both_layouts_are_described_as_quantized(ref: ModelRef) -> None:
    description = describe(ref)
    assert description.quantized
    assert description.weight_bytes == sum(file.stat().st_size for file in Path(ref.location).glob("*.safetensors"))
    assert not describe(STARTER).quantized


def test_both_layouts_load_to_the_same_model_and_keep_integer_weights(today: ModelRef, autogptq: ModelRef) -> None:
    torch.testing.assert_close(logits(*load(autogptq, "cpu")), logits(*load(today, "cpu")), rtol=0, atol=0)
    for training in (False, True):
        model: Any = load(autogptq, "cpu", for_training=training)[0]
        assert model.model.layers[0].self_attn.q_proj.qweight.dtype == torch.int32


def test_an_engine_generates_what_transformers_generates(ref: ModelRef) -> None:
    """Two requests at once, as an evaluation and generations share an engine."""
    pool = ModelPool(2**28, device="cpu")
    with pool.borrow(ref) as engine:
        running = [engine.submit(PROMPT, Sampling(max_new_tokens=30)) for _ in range(2)]
        texts = [request.future.result(60).text for request in running]
    pool.close()
    assert texts == [generated(load(ref, "cpu")[0], PROMPT, 30)] * 2


def test_the_estimated_size_in_memory_is_that_of_the_loaded_weights(ref: ModelRef) -> None:
    pool = ModelPool(2**28, device="cpu")
    with pool.borrow(ref) as engine:
        weights = pool.statistics().bytes - engine.cache_bytes
    pool.close()
    assert loaded_bytes(ref, "cpu") == pytest.approx(weights, rel=0.02)


def test_the_weights_are_found_under_any_file_name(changed: Callable[..., ModelRef]) -> None:
    ref = changed(model_file_base_name=None)
    assert load(ref, "cpu")
    [weights] = Path(ref.location).glob("*.safetensors")
    weights.rename(weights.with_name("model.safetensors"))
    assert load(ref, "cpu")


def test_two_possible_weights_files_are_refused_and_named(changed: Callable[..., ModelRef]) -> None:
    ref = changed(model_file_base_name="../model")
    shutil.copy(next(Path(ref.location).glob("*.safetensors")), Path(ref.location, "other.safetensors"))
    with pytest.raises(
        ModelLoadError, match=r"gptq_model-4bit-32g.safetensors or other.safetensors.*model_file_base_name"
    ):
        load(ref, "cpu")


def test_quantized_weights_without_quantization_settings_are_refused(
    changed: Callable[..., ModelRef],
) -> None:
    ref = changed()
    Path(ref.location, "quantize_config.json").unlink()
    [weights] = Path(ref.location).glob("*.safetensors")
    weights.rename(weights.with_name("model.safetensors"))
    with pytest.raises(ModelLoadError, match=r"lack the weights model.layers.0.mlp.down_proj.weight and 6 more"):
        load(ref, "cpu")


@pytest.mark.parametrize("part", ["qweight", "scales", "qzeros"])
def test_a_lacking_tensor_of_a_quantized_layer_is_refused_and_named(
    changed: Callable[..., ModelRef], part: str
) -> None:
    ref = changed()
    [weights] = Path(ref.location).glob("*.safetensors")
    name = f"model.layers.0.mlp.down_proj.{part}"
    save_file({key: tensor for key, tensor in load_file(weights).items() if key != name}, weights, {"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"lack the weights model\.layers\.0\.mlp\.down_proj\."):
        load(ref, "cpu")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"bits": 5}', '{"bits": 4, "group_size": 0}'])
def test_wrong_quantization_settings_are_refused_and_the_model_is_named(
    changed: Callable[..., ModelRef], content: str
) -> None:
    ref = changed()
    Path(ref.location, "quantize_config.json").write_text(content)
    with pytest.raises(ModelLoadError, match="changed"):
        load(ref, "cpu")


def test_an_adapter_is_not_merged_into_quantized_weights(ref: ModelRef, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="quantized weights"):
        merge(replace(ref, adapter=str(tmp_path)), tmp_path / "merged")


@pytest.mark.parametrize("package", ["gptqmodel", "optimum"])
def test_a_missing_package_for_gptq_is_named(ref: ModelRef, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelLoadError, match=f"need {package}"):
        load(ref, "cpu")


def test_gptq_weights_are_not_quantized_again_by_bitsandbytes(ref: ModelRef) -> None:
    for function in (describe, load):
        with pytest.raises(ModelLoadError, match="already quantized, by gptq: leave out `load`"):
            function(replace(ref, bitsandbytes=4))
