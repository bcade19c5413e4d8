from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoConfig, GenerationConfig, LlamaConfig

from models.loading.properties import DEFAULT_CONTEXT_LENGTH, context_length, eos_token_ids, position_scaling


@pytest.mark.parametrize(
    ("generation", "config", "tokenizer", "ends"),
    [
        (7, 7, 7, [7]),
        ([7, 8], 7, 9, [7, 8, 9]),
        (None, [5, 6], None, [5, 6]),
        (None, None, 9, [9]),
        (None, None, None, []),
        (-1, None, None, []),
    ],
)
def test_a_completion_ends_at_every_token_that_the_model_or_its_tokenizer_names(
    generation: Any, config: Any, tokenizer: Any, ends: list[int]
) -> None:
    model: Any = SimpleNamespace(
        generation_config=GenerationConfig(eos_token_id=generation), config=LlamaConfig(eos_token_id=config)
    )
    named: Any = SimpleNamespace(eos_token_id=tokenizer)
    assert eos_token_ids(model, named) == ends


def config(model_type: str, **fields: Any) -> Any:
    return AutoConfig.for_model(model_type, **fields)


def rope(kind: str, **fields: Any) -> dict[str, Any]:
    return {"rope_type": kind, "rope_theta": 10000.0, **fields}


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ({}, 4096),
        ({"rope_parameters": rope("linear", factor=4.0)}, 16384),
        ({"rope_parameters": rope("dynamic", factor=2.0)}, 8192),
        # as Qwen2.5 with YaRN, whose positions are stated before the scaling, and as DeepSeek-V3, after it
        ({"rope_parameters": rope("yarn", factor=4.0, original_max_position_embeddings=4096)}, 16384),
        ({"rope_parameters": rope("yarn", factor=4.0, original_max_position_embeddings=1024)}, 4096),
        ({"rope_parameters": rope("yarn", factor=2.0)}, 8192),
        # as Llama 3.1
        (
            {
                "rope_parameters": rope(
                    "llama3",
                    factor=8.0,
                    low_freq_factor=1.0,
                    high_freq_factor=4.0,
                    original_max_position_embeddings=512,
                )
            },
            4096,
        ),
        # as written before transformers 5
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, 16384),
    ],
)
def test_scaled_positions_extend_the_context(fields: dict[str, Any], length: int) -> None:
    assert context_length(config("llama", max_position_embeddings=4096, **fields)) == length


def test_longrope_states_its_positions_after_the_scaling() -> None:
    factors = [1.0] * 48
    scaling = rope("longrope", short_factor=factors, long_factor=factors, original_max_position_embeddings=4096)
    phi = config("phi3", max_position_embeddings=131072, rope_parameters=scaling)
    assert context_length(phi) == 131072


def test_scaling_that_differs_by_layer_is_in_the_stated_positions() -> None:
    layers = {"full_attention": rope("linear", factor=8.0), "sliding_attention": rope("default")}
    assert context_length(config("gemma3_text", max_position_embeddings=131072, rope_parameters=layers)) == 131072


@pytest.mark.parametrize(
    ("model_type", "fields", "length"),
    [
        ("gpt2", {"n_positions": 1024}, 1024),
        ("mpt", {"max_seq_len": 2048}, 2048),
        ("bloom", {}, DEFAULT_CONTEXT_LENGTH),
        ("mamba", {}, DEFAULT_CONTEXT_LENGTH),
        ("rwkv", {"context_length": 1024}, 1024),
        ("gemma3", {}, 131072),
    ],
)
def test_models_name_their_positions_in_different_fields(model_type: str, fields: dict[str, Any], length: int) -> None:
    assert context_length(config(model_type, **fields)) == length


def test_the_scaling_is_named_for_errors() -> None:
    scaled = config("llama", max_position_embeddings=4096, rope_parameters=rope("yarn", factor=4.0))
    assert position_scaling(scaled) == "the model has 4096 positions, scaled by 4 (yarn) to 16384"
    assert position_scaling(config("llama")) is None
