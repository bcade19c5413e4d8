"""Which of a model's files contain its weights. Repositories often have them twice, in two layouts."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

STANDARD_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
"""The file with the weights, or the index of several. transformers reads the first of the two that exists."""

_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
_FLOATS = ("F64", "F32", "F16", "BF16")


def weights_name(names: Collection[str], quantization: Mapping[str, Any] | None) -> str:
    """Return which of a folder's files has the weights, or is their index.

    AutoGPTQ, whose settings are `quantization`, named the file after the bits of the weights. Raises ValueError if no
    file has the weights, or if it is unclear which one.
    """
    for name in STANDARD_WEIGHTS:
        if name in names:
            return name
    found = sorted(name for name in names if name.endswith((".safetensors", ".safetensors.index.json")))
    if quantization is None:
        others = f"; {', '.join(found)} is in another layout" if found else "; other weight formats are not loaded"
        raise ValueError(f"there is no {' and no '.join(STANDARD_WEIGHTS)}{others}")
    base_name = quantization.get("model_file_base_name")
    for name in (f"{base_name}.safetensors", f"{base_name}.safetensors.index.json"):
        if name in found:
            return name
    candidates = [name for name in found if name.endswith(".index.json")] or found
    if len(candidates) != 1:
        raise ValueError(f"the weights may be in {' or '.join(candidates)}: set model_file_base_name to say where")
    return candidates[0]


def weight_files(folder: Path, name: str) -> list[Path]:
    """Return the files with weights: the file `name`, or those that it lists if it is an index.

    Raises OSError or ValueError for an index that can't be read, or that names a file outside the folder.
    """
    if not name.endswith(".index.json"):
        return [folder / name]
    content = json.loads((folder / name).read_text())
    shards = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise ValueError(f"{name} has no `weight_map` from the names of tensors to files")
    for shard in shards.values():
        if "/" in shard or not shard.endswith(".safetensors"):
            raise ValueError(f"{name} names {shard}, which is no *.safetensors file of the folder")
    return [folder / shard for shard in sorted(set(shards.values()))]


def stored_bytes(files: list[Path], float_bytes: int) -> int:
    """Return the memory that the weights in the files take if each float has `float_bytes`; integers stay as they are.

    Raises OSError or SafetensorError for a file that can't be read.
    """
    total = 0
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  it is not a dictionary
                stored = tensors.get_slice(name)
                count, dtype = 1, stored.get_dtype()
                for length in stored.get_shape():
                    count *= length
                total += count * (float_bytes if dtype in _FLOATS else _BYTES.get(dtype, 1))
    return total
