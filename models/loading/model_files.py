"""The files of a model: where they are, what its configuration says, and how large its weights are."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors import safe_open
from transformers import AutoConfig, PreTrainedConfig

from models.loading.quantization_config import CONFIG, read_quantization_config
from models.loading.refs import ModelLoadError, ModelRef, Source

BUNDLED_MODELS = Path(__file__).parents[1]
STANDARD_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")

HUB_FILES = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]
"""What is downloaded from the hub: safetensors, configuration and tokenizer, but no pickles and no Python code."""

GPTQ_PACKAGES = ("gptqmodel", "optimum")

_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
_FLOATS = ("F64", "F32", "F16", "BF16")


def model_folder(ref: ModelRef) -> Path:
    """Return the folder of the model's files, and download a hub model to it. Raises ModelLoadError."""
    if ref.source == Source.HUB:
        return _download(ref)
    bundled = ref.source == Source.BUNDLED
    folder = BUNDLED_MODELS / Path(ref.location).name if bundled else Path(ref.location)
    if not (folder / CONFIG).is_file():
        raise ModelLoadError(f"{ref.location}: the folder does not exist or has no {CONFIG}")
    if not any(folder.glob("*.safetensors")):
        raise ModelLoadError(
            f"{ref.location}: the folder has no *.safetensors file; other weight formats are not loaded"
        )
    return folder


def read_config(ref: ModelRef, folder: Path) -> Any:
    """Return the model's configuration, whose `quantization_config` is set if its weights are quantized.

    Raises ModelLoadError if it can't be used, if the options of `ref` don't fit it, or if a package is missing.
    """
    try:
        config = _complete_config(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ModelLoadError(f"{ref.location}: the configuration can't be used: {error}") from error
    quantization = stored_quantization(config)
    if quantization is None:
        return config
    method = quantization.get("quant_method")
    if ref.bitsandbytes is not None:
        raise ModelLoadError(f"{ref.location}: the weights are already quantized, by {method}: leave out `load`")
    missing = [package for package in GPTQ_PACKAGES if method == "gptq" and find_spec(package) is None]
    if missing:
        raise ModelLoadError(f"{ref.location}: GPTQ weights need {' and '.join(missing)}: install it on this worker")
    return config


def stored_quantization(config: PreTrainedConfig) -> dict[str, Any] | None:
    """Return how the stored weights are quantized, `quant_method` and its settings, or None if they are not."""
    return getattr(config, "quantization_config", None)


def stored_bytes(folder: Path, float_bytes: int) -> int:
    """Return the memory that the weights in the folder take if each float has `float_bytes`; integers stay as they are.

    Raises OSError or SafetensorError for a file that can't be read.
    """
    total = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  it is not a dictionary
                stored = tensors.get_slice(name)
                count, dtype = 1, stored.get_dtype()
                for length in stored.get_shape():
                    count *= length
                total += count * (float_bytes if dtype in _FLOATS else _BYTES.get(dtype, 1))
    return total


def _download(ref: ModelRef) -> Path:
    try:
        return Path(snapshot_download(ref.location, revision=ref.revision, allow_patterns=HUB_FILES))
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError) as error:
        raise ModelLoadError(f"{ref.location}: the hub does not have this model at {ref.revision}: {error}") from error


def _complete_config(folder: Path) -> PreTrainedConfig:
    """Read the configuration, and complete it from AutoGPTQ's file, which transformers does not read.

    AutoGPTQ also named the file of the weights after their bits. Raises OSError, ValueError or KeyError.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if stored_quantization(config) is not None:
        return config
    quantization = read_quantization_config(folder)
    if quantization is not None:
        config.quantization_config = quantization
        weights = _weights_file(folder, quantization.get("model_file_base_name"))
        if weights not in STANDARD_WEIGHTS:
            config.transformers_weights = weights
    return config


def _weights_file(folder: Path, base_name: object) -> str:
    """Return the name of the file with the weights, or of their index. Raises ValueError if it is unclear."""
    files = sorted(file.name for file in folder.glob("*.safetensors*"))
    for name in (f"{base_name}.safetensors", f"{base_name}.safetensors.index.json", *STANDARD_WEIGHTS):
        if name in files:
            return name
    candidates = [name for name in files if name.endswith(".index.json")] or files
    if len(candidates) != 1:
        raise ValueError(f"the weights may be in {' or '.join(candidates)}: set model_file_base_name to say where")
    return candidates[0]
