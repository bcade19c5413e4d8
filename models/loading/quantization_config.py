"""How the weights in a model's folder are quantized. Imports no torch, so that the API can show it."""

import json
from pathlib import Path
from typing import Any

CONFIG = "config.json"
QUANTIZE_CONFIG = "quantize_config.json"
"""Where AutoGPTQ wrote the settings that `config.json` contains today."""

_SHOWN = ("bits", "group_size", "desc_act", "sym")


def read_quantization_config(folder: Path) -> dict[str, Any] | None:
    """Return the quantization settings of the weights in the folder, or None if they are not quantized.

    The settings are those of `config.json`, else those of `quantize_config.json` without null values and with
    `quant_method`, which AutoGPTQ did not write. Raises OSError for a file that can't be read and ValueError for one
    that is not a JSON object or names no bits.
    """
    settings = read_object(folder / CONFIG).get("quantization_config")
    if settings is not None:
        if not isinstance(settings, dict):
            raise ValueError(f"quantization_config in {CONFIG} is not an object")
        return settings
    if not (folder / QUANTIZE_CONFIG).is_file():
        return None
    settings = read_object(folder / QUANTIZE_CONFIG)
    if "bits" not in settings:
        raise ValueError(f"{QUANTIZE_CONFIG} has no `bits`")
    return {"quant_method": "gptq"} | {name: value for name, value in settings.items() if value is not None}


def refused_quantization(settings: dict[str, Any]) -> str | None:
    """Return why weights with these quantization settings are not loaded, or None if they are."""
    method = settings.get("quant_method")
    instead = (
        "use the model that they were quantized from, as it is, with `load` for 8 or 4 bits, or quantized by a "
        "quantization job"
    )
    if method != "gptq":
        named = f"by {method}" if method else "by an unnamed method (quantization_config has no quant_method)"
        return f"its weights are quantized {named}, and of quantized weights only those of GPTQ are loaded: {instead}"
    layout = settings.get("checkpoint_format") or settings.get("format") or "gptq"
    if layout not in ("gptq", "gptq_v2"):
        return f"its GPTQ weights are in the layout {layout}, and only gptq and gptq_v2 are loaded: {instead}"
    return None


def quantization_summary(folder: Path) -> dict[str, Any] | None:
    """Return what the API shows of the quantization: `method` and, if present, bits, group_size, desc_act and sym.

    Returns None if the weights are not quantized or the files can't be read: the worker that loads them reports why.
    """
    try:
        settings = read_quantization_config(folder)
    except (OSError, ValueError):
        return None
    if settings is None:
        return None
    shown = {name: settings[name] for name in _SHOWN if name in settings}
    return {"method": str(settings.get("quant_method") or "gptq"), **shown}


def read_object(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except RecursionError as error:
        raise ValueError(f"{file.name} is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file.name} is not a JSON object")
    return content
