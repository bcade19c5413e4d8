"""GPTQ weights whose layers have settings of their own, and the internals that `models.loading.gptq` relies on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING, AUTO_QUANTIZER_MAPPING

from models.loading.gptq import LIKE_LINEAR, use_plain_linears
from models.loading.loader import load
from models.loading.refs import ModelRef, Source
from models.quantization.gptq import quantize
from models.quantization.options import QuantizationOptions
from models.quantization.task import QuantizeTask
from tests.models import architectures, census

Quantized = Callable[..., tuple[ModelRef, ModelRef]]


@pytest.fixture
def quantized(tmp_path: Path) -> Quantized:
    """Makes a tiny model, and quantizes it."""

    def make(name: str, **options: Any) -> tuple[ModelRef, ModelRef]:
        work = tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}"
        original = census.save(name, work / "model")
        settings = QuantizationOptions(group_size=32, samples=16, **options)
        task = QuantizeTask(
            model=original, calibration=census.calibration(work), options=settings, work_folder=work
        )  # fmt: skip
        assert quantize(task, lambda _: None, lambda: False)
        return original, ModelRef(Source.LOCAL, str(task.result_folder))

    return make


def write_rules(ref: ModelRef, dynamic: dict[str, Any]) -> None:
    file = Path(ref.location) / "config.json"
    config = json.loads(file.read_text())
    config["quantization_config"]["dynamic"] = dynamic
    file.write_text(json.dumps(config))


def test_a_layer_that_a_rule_excludes_is_read_as_it_is(quantized: Quantized) -> None:
    original, ref = quantized("llama")
    weights = load_file(Path(ref.location) / "model.safetensors")
    before = load_file(Path(original.location) / "model.safetensors")
    for number in (0, 1):
        name = f"model.layers.{number}.mlp.down_proj"
        weights = {key: tensor for key, tensor in weights.items() if not key.startswith(f"{name}.")}
        weights[f"{name}.weight"] = before[f"{name}.weight"]
    save_file(weights, Path(ref.location) / "model.safetensors", {"format": "pt"})
    write_rules(ref, {r"-:.*\.down_proj": {}})
    model, _ = load(ref, "cpu")
    read = model.get_submodule("model.layers.1.mlp.down_proj").weight
    torch.testing.assert_close(read.data, before["model.layers.1.mlp.down_proj.weight"])


def test_a_rule_may_give_a_layer_other_bits(quantized: Quantized) -> None:
    _, four = quantized("llama")
    _, eight = quantized("llama", bits=8)
    weights, finer = (load_file(Path(ref.location) / "model.safetensors") for ref in (four, eight))
    name = "model.layers.0.self_attn.q_proj"
    weights |= {key: tensor for key, tensor in finer.items() if key.startswith(name)}
    save_file(weights, Path(four.location) / "model.safetensors", {"format": "pt"})
    write_rules(four, {rf"+:{name}": {"bits": 8}})
    inputs = torch.randn(1, 5, 64)
    with torch.inference_mode():
        [mixed, wanted] = [load(ref, "cpu")[0].get_submodule(name)(inputs) for ref in (four, eight)]
    torch.testing.assert_close(mixed, wanted)


@pytest.mark.parametrize(("name", "bits"), [("falcon", 4), ("gpt2", 4), ("gpt2", 8)])
def test_layers_of_other_classes_are_loaded_quantized(quantized: Quantized, name: str, bits: int) -> None:
    """Falcon's are a subclass of nn.Linear, GPT-2's are Conv1D, which it initializes by their names.

    The kernel of 8 bits, which is that of GPUs, has an attribute `weight` of its own.
    """
    original, ref = quantized(name, bits=bits)
    before, _ = load(original, "cpu")
    after, _ = load(ref, "cpu")
    ids = torch.tensor([census.prompts()[2]])
    with torch.inference_mode():
        wanted, moved = before(ids).logits, after(ids).logits
    assert 0 < float((moved - wanted).norm() / wanted.norm()) < 0.3
    assert not any("weight" in vars(module) for module in after.modules() if hasattr(module, "qweight"))


def test_a_subclass_in_the_list_computes_what_a_linear_layer_does() -> None:
    model, _ = architectures.make("falcon")
    layer: Any = next(module for module in model.modules() if type(module).__name__ in LIKE_LINEAR)
    inputs = torch.randn(3, layer.in_features)
    before = layer(inputs)
    use_plain_linears(model)
    assert type(layer) is torch.nn.Linear
    torch.testing.assert_close(layer(inputs), before)


def test_transformers_finds_quantizers_by_name() -> None:
    assert {"gptq"} <= AUTO_QUANTIZER_MAPPING.keys() & AUTO_QUANTIZATION_CONFIG_MAPPING.keys()
