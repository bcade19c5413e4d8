"""Which layers of a model are quantized, and what is said of the others."""

from typing import Any

import pytest
from torch import nn

from models.quantization.errors import QuantizationError
from models.quantization.layers import check_group_size, find_layers
from tests.models import architectures


def test_of_a_dense_model_all_layers_of_the_blocks_are_quantized() -> None:
    model, _ = architectures.make("llama")
    layers = find_layers(model)
    assert (layers.prefix, layers.blocks, layers.left) == ("model.layers", 2, {})
    assert len(layers.modules) == 2 * 7
    modules: Any = layers.modules.values()
    quantized = sum(layer.weight.numel() for layer in modules)
    assert layers.share == quantized / sum(parameter.numel() for parameter in model.parameters())
    assert layers.describe_left().endswith("stay as they are: the embeddings and the head")


def test_subclasses_that_compute_what_linear_layers_do_are_quantized() -> None:
    model, _ = architectures.make("falcon")
    assert {type(layer) for layer in find_layers(model).modules.values()} == {nn.Linear}


def test_a_mixture_whose_experts_are_no_linear_layers_is_refused() -> None:
    model, _ = architectures.make("mixtral")
    message = r"14 % of the weights in the blocks of MixtralForCausalLM.*can't quantize .*mlp\.experts\.gate_up_proj"
    with pytest.raises(QuantizationError, match=message):
        find_layers(model)


def wide(**sizes: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    common = {"vocab_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**(common | sizes)))


def test_a_layer_whose_shape_has_no_kernel_is_left_as_it_is_and_named() -> None:
    layers = find_layers(wide(hidden_size=64, head_dim=8, intermediate_size=512, num_attention_heads=2))
    names = [f"self_attn.{letter}_proj" for letter in "qkvo"]
    assert list(layers.left) == [f"model.layers.*.{name}" for name in names]
    assert layers.names == ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    assert "of the blocks model.layers.*.self_attn.q_proj, " in layers.describe_left()


def test_a_model_whose_layers_mostly_have_no_kernel_is_refused_and_they_are_named() -> None:
    with pytest.raises(QuantizationError, match=r"mlp\.gate_proj.*multiples of 32\): load the model with 8 or 4 bits"):
        find_layers(wide(hidden_size=64, intermediate_size=520))


def test_a_group_size_that_does_not_divide_is_refused_with_those_that_do() -> None:
    with pytest.raises(QuantizationError, match=r"group_size: 64 does not divide the 96 inputs of b; .* -1, 16, 32$"):
        check_group_size(64, {"a": 64, "b": 96})
    check_group_size(-1, {"a": 100})
