"""What a model's files say about it before it is loaded. Imports no torch, so that the API can show it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from models.loading.quantization_config import (
    CONFIG,
    QUANTIZE_CONFIG,
    quantization_summary,
    read_object,
    read_quantization_config,
    refused_quantization,
)
from models.loading.refs import ModelLoadError
from models.loading.weights import STANDARD_WEIGHTS, weight_files, weights_name

CHAT_TEMPLATE = "chat_template.jinja"
TOKENIZER_CONFIG = "tokenizer_config.json"
DESCRIBING = (CONFIG, QUANTIZE_CONFIG, STANDARD_WEIGHTS[1], TOKENIZER_CONFIG)
"""The files that `describe_files` reads if they are there."""

SCALED_BY_BATCH = ("longrope", "dynamic")
"""Kinds of RoPE scaling by which the longest text of a batch changes the others."""

OTHER_TASKS = (
    "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice",
    "ForNextSentencePrediction", "ForImageClassification", "ForAudioClassification", "ForCTC", "EncoderModel",
)  # fmt: skip
"""How the names of architectures end that do not continue a text."""

_MODEL_TYPES = Path(__file__).parent / "causal_model_types.txt"


@dataclass(frozen=True)
class ModelFiles:
    """What is known of a model from its files. A value that they do not tell is None.

    - `architecture` and `model_type` are transformers' names.
    - `parameters`: how many numbers the weights are; None if they are quantized, which packs several in one.
    - `weight_bytes`: the size of the files with the weights, and `dtype` the type of the numbers in them.
    - `quantization`: `method` and its options; None if the weights are not quantized.
    - `chat_template`: whether the tokenizer has one.
    - `served_by`: which engine will serve the model, as far as that is known before it is loaded.
    """

    architecture: str | None
    model_type: str | None
    parameters: int | None
    weight_bytes: int | None
    dtype: str | None
    quantization: dict[str, Any] | None
    chat_template: bool
    served_by: str


def describe_files(label: str, folder: Path, sizes: Mapping[str, int], stored: int | None = None) -> ModelFiles:
    """Describe a model by the files in `folder`, of which only those of `DESCRIBING` need be there.

    `sizes` has all its files, by their paths, with their bytes; `stored` is how many numbers the weights are, if that
    is known. Raises ModelLoadError, with `label` as the model's name, if no worker can load the model.
    """
    names = [name for name in sizes if "/" not in name]
    if CONFIG not in names:
        raise ModelLoadError(f"{label}: {_without_config(names)}")
    try:
        config = read_object(folder / CONFIG)
        quantization = read_quantization_config(folder)
        reason = refused_model(config) or (refused_quantization(quantization) if quantization else None)
        if reason:
            raise ModelLoadError(f"{label}: {reason}")
        weights = _weights(folder, names, quantization)
    except (OSError, ValueError) as error:
        if isinstance(error, ModelLoadError):
            raise
        raise ModelLoadError(f"{label}: its files can't be used: {str(error).replace(str(folder), label)}") from error
    nested = config.get("text_config")
    text: dict[str, Any] = nested if isinstance(nested, dict) else {}
    return ModelFiles(
        architecture=_architecture(config),
        model_type=config.get("model_type"),
        parameters=None if quantization else stored,
        weight_bytes=sum(sizes.get(name, 0) for name in weights),
        dtype=next(
            (_text(each.get(key)) for each in (config, text) for key in ("dtype", "torch_dtype") if each.get(key)), None
        ),
        quantization=quantization_summary(folder),
        chat_template=CHAT_TEMPLATE in names or _has_chat_template(folder),
        served_by=_served_by(config),
    )


def refused_model(config: Mapping[str, Any]) -> str | None:
    """Return why no worker serves a model with this `config.json`, or None if one may."""
    architecture, model_type = _architecture(config), config.get("model_type")
    if architecture and architecture.endswith(OTHER_TASKS):
        return f"{architecture} does not continue texts: use a model for text generation"
    if not model_type or model_type in causal_model_types():
        return None  # transformers finds the type of old models in other ways
    if config.get("auto_map"):
        return (
            f"it needs code from its repository (model type {model_type}), which is not run: use a model that "
            "transformers supports"
        )
    return f"transformers has no language model of the type {model_type}: use a model of a type in docs/models.md"


@cache
def causal_model_types() -> frozenset[str]:
    """Return the model types of which transformers has a causal language model; a test compares them with it."""
    return frozenset(_MODEL_TYPES.read_text().split())


def _architecture(config: Mapping[str, Any]) -> str | None:
    named = config.get("architectures")
    return _text(named[0]) if isinstance(named, list) and named else None


def _text(value: object) -> str:
    return str(value)[:200]


def _without_config(names: list[str]) -> str:
    if any(name.endswith(".gguf") for name in names):
        return "it has GGUF files and no config.json, and GGUF is not loaded: use the model that they were made from"
    if "adapter_config.json" in names:
        return "it is an adapter without its base model, which can't be registered: use a merged model"
    if "model_index.json" in names:
        return "it makes images, not texts: use a model for text generation"
    return "it has no config.json, so it is no model that transformers loads"


def _weights(folder: Path, names: list[str], quantization: Mapping[str, Any] | None) -> list[str]:
    """Return the names of the files with the weights. Raises ValueError."""
    try:
        name = weights_name(names, quantization)
    except ValueError as error:
        others = sorted(
            name for name in names if name.endswith((".gguf", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".onnx"))
        )
        raise ValueError(f"{error} (it has {', '.join(others[:3])})" if others else str(error)) from error
    if name.endswith(".index.json") and not (folder / name).exists():
        return []  # too large to be fetched
    weights = [file.name for file in weight_files(folder, name)]
    missing = [each for each in weights if each not in names]
    if missing:
        raise ValueError(f"there is no {missing[0]}")
    return weights


def _has_chat_template(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / TOKENIZER_CONFIG).read_text()).get("chat_template"))
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def _served_by(config: Mapping[str, Any]) -> str:
    for each in (config, config.get("text_config")):
        rope = each.get("rope_parameters") or each.get("rope_scaling") if isinstance(each, Mapping) else None
        kind = (rope.get("rope_type") or rope.get("type")) if isinstance(rope, Mapping) else None
        if kind in SCALED_BY_BATCH:
            return f"transformers-plain, since the longest text of a batch changes {kind} positions of the others"
    return "decided when the model is loaded: transformers-paged if its check passes, else transformers-plain"
