"""What the files of a local model say of its weights, read where no torch is."""

import json
from pathlib import Path
from typing import Any

_SHOWN = ("bits", "group_size", "desc_act", "sym")


def read_quantization(folder: Path) -> dict[str, Any] | None:
    """How the weights in the folder are quantized: `method`, and with GPTQ the settings by their names there.

    None if they are not, or if the files say nothing that can be read: the worker that loads them says what is wrong.
    """
    found = _read(folder / "config.json").get("quantization_config")
    if not isinstance(found, dict):
        found = _read(folder / "quantize_config.json")  # where AutoGPTQ wrote it
        if "bits" not in found:
            return None
    method = found.get("quant_method") or "gptq"
    return {"method": str(method), **{name: found[name] for name in _SHOWN if name in found}}


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
