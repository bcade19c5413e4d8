"""Checkpoints that are GPTQ already, as they are written today and as AutoGPTQ wrote them."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from models.loading.loader import describe, load, loaded_bytes
from models.loading.merging import merge
from models.loading.refs import ModelLoadError, ModelRef
from models.prompts.template import build_prompt
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
    found: ModelRef = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def changed(autogptq: ModelRef, tmp_path: Path) -> Callable[..., ModelRef]:
    """The model in AutoGPTQ's layout, with changes to what it says of itself; None takes a field out."""

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
        found: torch.Tensor = model(**tokenizer(PROMPT, return_tensors="pt").to(model.device)).logits
    return found


def test_both_layouts_are_described_as_quantized(ref: ModelRef) -> None:
    description = describe(ref)
    assert description.quantized
    assert description.weight_bytes == sum(file.stat().st_size for file in Path(ref.location).glob("*.safetensors"))
    assert not describe(STARTER).quantized


def test_both_layouts_load_to_the_same_model_and_are_not_quantized_again(today: ModelRef, autogptq: ModelRef) -> None:
    torch.testing.assert_close(logits(*load(autogptq, "cpu")), logits(*load(today, "cpu")), rtol=0, atol=0)
    for training in (False, True):
        model: Any = load(autogptq, "cpu", for_training=training)[0]
        assert model.model.layers[0].self_attn.q_proj.qweight.dtype == torch.int32


def test_a_quantized_model_serves_as_transformers_generates(ref: ModelRef) -> None:
    """Twice at once, as an evaluation and generations share an engine."""
    pool = ModelPool(2**28, device="cpu")
    with pool.borrow(ref) as engine:
        running = [engine.submit(PROMPT, Sampling(max_new_tokens=30)) for _ in range(2)]
        texts = [request.future.result(60).text for request in running]
    pool.close()
    assert texts == [generated(load(ref, "cpu")[0], PROMPT, 30)] * 2


def test_its_size_in_memory_is_known_before_it_is_loaded(ref: ModelRef) -> None:
    pool = ModelPool(2**28, device="cpu")
    with pool.borrow(ref) as engine:
        weights = pool.statistics().bytes - engine.cache_bytes
    pool.close()
    assert loaded_bytes(ref, "cpu") == pytest.approx(weights, rel=0.02)


def test_weights_under_any_name_are_found(changed: Callable[..., ModelRef]) -> None:
    ref = changed(model_file_base_name=None)
    assert load(ref, "cpu")
    [weights] = Path(ref.location).glob("*.safetensors")
    weights.rename(weights.with_name("model.safetensors"))
    assert load(ref, "cpu")


def test_weights_that_could_be_either_file_are_refused_by_name(changed: Callable[..., ModelRef]) -> None:
    ref = changed(model_file_base_name="../model")
    shutil.copy(next(Path(ref.location).glob("*.safetensors")), Path(ref.location, "other.safetensors"))
    with pytest.raises(
        ModelLoadError, match=r"gptq_model-4bit-32g.safetensors, other.safetensors .*model_file_base_name"
    ):
        load(ref, "cpu")


def test_quantized_weights_that_nothing_says_how_to_read_are_not_taken_for_others(
    changed: Callable[..., ModelRef],
) -> None:
    ref = changed()
    Path(ref.location, "quantize_config.json").unlink()
    [weights] = Path(ref.location).glob("*.safetensors")
    weights.rename(weights.with_name("model.safetensors"))
    with pytest.raises(ModelLoadError, match=r"lack the weights model.layers.0.mlp.down_proj.weight and 6 more"):
        load(ref, "cpu")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"bits": 5}', '{"bits": 4, "group_size": 0}'])
def test_what_a_quantized_model_says_wrongly_of_itself_is_an_error_that_names_it(
    changed: Callable[..., ModelRef], content: str
) -> None:
    ref = changed()
    Path(ref.location, "quantize_config.json").write_text(content)
    with pytest.raises(ModelLoadError, match="changed"):
        load(ref, "cpu")


def test_quantized_weights_take_no_adapter_in(ref: ModelRef, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="quantized weights"):
        merge(replace(ref, adapter=str(tmp_path)), tmp_path / "merged")


@pytest.mark.parametrize("package", ["gptqmodel", "optimum"])
def test_without_the_package_that_it_takes_it_says_so(
    ref: ModelRef, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelLoadError, match=f"takes {package}"):
        load(ref, "cpu")


def test_weights_that_are_quantized_already_are_not_quantized_by_bitsandbytes(ref: ModelRef) -> None:
    for ask in (describe, load):
        with pytest.raises(ModelLoadError, match="quantized already, by gptq: leave out `load`"):
            ask(replace(ref, bitsandbytes=4))
