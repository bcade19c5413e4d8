"""Properties of a model that its configuration states."""

from itertools import chain
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DEFAULT_CONTEXT_LENGTH = 4096
"""Of a model that names no limit: its positions are biases (alibi), or it has none, as recurrent models."""

LIMITS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "model_max_length", "context_length")
"""Fields of configurations that limit the context, the first that a configuration has."""

GROWING = ("linear", "dynamic", "yarn")
"""Kinds of RoPE scaling with which `max_position_embeddings` may be that before the scaling."""

WINDOWS = (
    "sliding_window",
    "attention_chunk_size",
    "window_size",
    "attention_window_size",
    "local_attention",
    "index_topk",
)
"""Fields of configurations with the number of tokens up to which attention is as without them."""


def context_length(config: PreTrainedConfig) -> int:
    """Return the largest number of tokens, prompt text and completion together, that the model has positions for."""
    return _positions(config)[1]


def position_scaling(config: PreTrainedConfig) -> str | None:
    """Return how scaled RoPE changes the context length, for error messages, or None if it does not."""
    stated, scaled = _positions(config)
    if stated == scaled:
        return None
    rope = rope_parameters(config)[0]
    return f"the model has {stated} positions, scaled by {rope['factor']:g} ({rope['rope_type']}) to {scaled}"


def rope_parameters(config: PreTrainedConfig) -> list[dict[str, Any]]:
    """Return the RoPE parameters: one of all layers, or those of each type of layer; empty without RoPE."""
    parameters = getattr(config.get_text_config(), "rope_parameters", None) or {}
    by_layer = [each for each in parameters.values() if isinstance(each, dict)]
    return by_layer or ([parameters] if parameters else [])


def config_values(config: PreTrainedConfig, name: str) -> list[Any]:
    """Return the text configuration's field, or that of each layer if its layers differ in it; None if it has none."""
    text = config.get_text_config()
    try:
        return [getattr(text, name, None)]
    except RuntimeError:  # transformers refuses to read it from the whole
        return [getattr(layer, name, None) for layer in text.per_layer_config]


def _positions(config: PreTrainedConfig) -> tuple[int, int]:
    """Return the number of positions before and after scaling.

    Checkpoints of YaRN (Qwen2.5) state 32768 positions, a factor of 4 and `original_max_position_embeddings` of 32768;
    others (DeepSeek-V3) already state the product. Those of `linear` and `dynamic` state the positions before the
    scaling and no original ones. `llama3` and `longrope` state those after the scaling, and so do models whose
    scaling differs by layer (Gemma 3).
    """
    text = config.get_text_config()
    values = (getattr(text, name, None) for name in LIMITS)
    stated = next((value for value in values if isinstance(value, int) and value > 0), None)
    if stated is None or getattr(text, "alibi", None) is True:
        return DEFAULT_CONTEXT_LENGTH, DEFAULT_CONTEXT_LENGTH
    ropes = rope_parameters(config)
    if len(ropes) != 1 or ropes[0].get("rope_type") not in GROWING:
        return stated, stated
    original = ropes[0].get("original_max_position_embeddings") or stated
    scaled = max(stated, int(original * float(ropes[0].get("factor") or 1)))
    return (stated if scaled == stated else original), scaled


def eos_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of the tokens that end a completion, in this order: those that the model's generation
    configuration names, its configuration, and its tokenizer. The list can be empty.

    Some models name another in each: the end of a turn, and the end of a text.
    """
    places = (model.generation_config, model.config, model.config.get_text_config(), tokenizer)
    named = [getattr(place, "eos_token_id", None) for place in places]
    ids = chain.from_iterable(each if isinstance(each, list | tuple) else [each] for each in named)
    return list(dict.fromkeys(int(id) for id in ids if id is not None and id >= 0))


def first_end(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the first of the tokens that end a completion; None if the model has none."""
    return next(iter(eos_token_ids(model, tokenizer)), None)
