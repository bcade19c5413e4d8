"""Folders of models: whether their weights are quantized already, and which file they are in.

Today the configuration says how weights are quantized. AutoGPTQ wrote that into a file beside it, and named the file of
the weights after the bits.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import AutoConfig, PreTrainedConfig

QUANTIZE_CONFIG = "quantize_config.json"
STANDARD_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")

_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
_FLOATS = ("F64", "F32", "F16", "BF16")


def read_config(folder: Path) -> PreTrainedConfig:
    """The model's configuration, which says how its weights are quantized and where they are, whatever the layout.

    Raises OSError, ValueError or KeyError for what transformers can't use.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    file = folder / QUANTIZE_CONFIG
    if quantization(config) is None and file.is_file():
        content = json.loads(file.read_text())
        if not isinstance(content, dict) or "bits" not in content:
            raise ValueError(f"{QUANTIZE_CONFIG} does not say to how many bits the weights are quantized")
        known = {name: value for name, value in content.items() if value is not None}
        config.quantization_config = {"quant_method": "gptq", **known}
        weights = _weights(folder, known.get("model_file_base_name"))
        if weights not in STANDARD_WEIGHTS:
            config.transformers_weights = weights
    return config


def quantization(config: PreTrainedConfig) -> dict[str, Any] | None:
    """How the stored weights are quantized: `quant_method`, and what belongs to it. None if they are not."""
    return getattr(config, "quantization_config", None)


def stored_bytes(folder: Path, float_bytes: int) -> int:
    """What the weights in the folder take in memory once floats have so many bytes each; integers stay as they are.

    Raises OSError or SafetensorError for a file that can't be read.
    """
    total = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  it is no dictionary
                stored = tensors.get_slice(name)
                count, dtype = 1, stored.get_dtype()
                for length in stored.get_shape():
                    count *= length
                total += count * (float_bytes if dtype in _FLOATS else _BYTES.get(dtype, 1))
    return total


def _weights(folder: Path, base_name: object) -> str:
    """The file that holds the weights, or the index of those that do."""
    files = sorted(file.name for file in folder.glob("*.safetensors*"))
    named = [f"{base_name}.safetensors", f"{base_name}.safetensors.index.json", *STANDARD_WEIGHTS]
    for name in named:
        if name in files:
            return name
    found = [name for name in files if name.endswith(".index.json")] or files
    if len(found) != 1:
        raise ValueError(f"which of {', '.join(found)} holds the weights? model_file_base_name is to say so")
    return found[0]
