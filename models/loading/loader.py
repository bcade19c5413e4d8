"""Models from the three places that they may come from: shipped with the project, a local folder, the hub."""

import os
import struct
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

import torch
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from models.loading import adapters, bits_and_bytes
from models.loading.model_files import quantization, read_config, stored_bytes
from models.loading.refs import ModelLoadError, ModelRef, Source

__all__ = [
    "ModelDescription",
    "ModelLoadError",
    "ModelRef",
    "Source",
    "default_device",
    "describe",
    "gpu_memory",
    "load",
    "loaded_bytes",
]

# What PEFT imports for quantized models names a folder in /tmp wherever these are unset, for every child process.
os.environ.setdefault("HF_HOME", constants.HF_HOME)
os.environ.setdefault("HF_HUB_CACHE", constants.HF_HUB_CACHE)

BUNDLED_MODELS = Path(__file__).parents[1]

# Weights are safetensors and code is ours: nothing that could run on loading is even fetched.
HUB_FILES = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]


@dataclass(frozen=True)
class ModelDescription:
    """What can be known of a model, its adapter aside, without loading it.

    `context_length` is in tokens, `dtype` and `weight_bytes` are the files'; `quantized` is whether weights are, or as
    they are loaded will be, in a format that can be computed with but not changed.
    """

    architecture: str
    dtype: torch.dtype
    context_length: int
    weight_bytes: int
    quantized: bool


def describe(ref: ModelRef) -> ModelDescription:
    """Read a model's configuration and the size of its weights. Fetches a hub model. Raises ModelLoadError."""
    folder = _folder(ref)
    config = _config(ref, folder)
    return ModelDescription(
        architecture=(config.architectures or [config.model_type])[0],
        dtype=config.dtype or torch.float32,
        context_length=int(config.get_text_config().max_position_embeddings),
        weight_bytes=sum(file.stat().st_size for file in folder.glob("*.safetensors")),
        quantized=ref.bitsandbytes is not None or quantization(config) is not None,
    )


def loaded_bytes(ref: ModelRef, device: str) -> int:
    """About what the model's weights, without its adapter, take in the memory of `device`, in the default dtype there.

    Fetches a hub model. Raises ModelLoadError.
    """
    folder = _folder(ref)
    config = _config(ref, folder)
    width = _default_dtype(device).itemsize
    if ref.bitsandbytes is not None:
        return bits_and_bytes.loaded_bytes(config, ref.bitsandbytes, width)
    try:
        return stored_bytes(folder, width)
    except (OSError, SafetensorError) as error:
        raise ModelLoadError(f"{ref.location}: the weights can't be read: {error}") from error


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def gpu_memory() -> list[tuple[int, int]]:
    """Of each GPU that this process sees, the bytes that all processes have taken, and the bytes that there are."""
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.mem_get_info(gpu) for gpu in range(torch.cuda.device_count())]
    return [(there - free, there) for free, there in found]


def load(
    ref: ModelRef,
    device: str | None = None,
    dtype: torch.dtype | Literal["auto"] | None = None,
    *,
    for_training: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model, its adapter in place, with its tokenizer.

    `for_training` matters to quantized weights, whose fastest kernels have no gradient.

    The default device is the GPU where there is one; the default dtype is float32 on the CPU, whose kernels are
    fastest there, and bfloat16 on a GPU; `auto` is the one that the weights are stored in. Raises ModelLoadError for
    what won't change by trying again; a network that fails or memory that runs out is raised as it comes.
    """
    folder = _folder(ref)
    device = device or default_device()
    config = _config(ref, folder)
    options: dict[str, Any] = {"dtype": dtype or _default_dtype(device)}
    stored = quantization(config)
    if stored or ref.bitsandbytes:
        # Kernels are chosen for the device before the weights come, and each process of several has one of its own.
        options["device_map"] = {"": f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device}
    if ref.bitsandbytes is not None:
        bits_and_bytes.check(ref.bitsandbytes, device)
        compute = (config.dtype or torch.float32) if dtype == "auto" else options["dtype"]
        options["quantization_config"] = bits_and_bytes.config(ref.bitsandbytes, compute)
    elif stored and stored.get("quant_method") == "gptq":
        if for_training:
            stored["backend"] = "auto_trainable"
        elif device == "cuda":
            # of its own choice gptqmodel would fetch a kernel's sources from the network, and compile them
            stored["backend"] = "gptq_torch"
    try:
        model, found = cast(Any, AutoModelForCausalLM).from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, NotImplementedError, SafetensorError, struct.error) as error:
        raise ModelLoadError(f"{ref.location}: the model can't be loaded: {error}") from error
    if lacking := sorted(found["missing_keys"] & dict(model.named_parameters()).keys()):
        # transformers would have them at random
        raise ModelLoadError(f"{ref.location}: its files lack the weights {lacking[0]} and {len(lacking) - 1} more")
    if ref.bitsandbytes is not None:
        bits_and_bytes.settle(model, for_training=for_training)
    placed: PreTrainedModel = (model if "device_map" in options else model.to(device)).eval()
    if ref.adapter is not None:
        placed = adapters.apply(placed, Path(ref.adapter))
    return placed, tokenizer


def _default_dtype(device: str) -> torch.dtype:
    return torch.float32 if device == "cpu" else torch.bfloat16


def _config(ref: ModelRef, folder: Path) -> Any:
    try:
        config = read_config(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ModelLoadError(f"{ref.location}: the configuration can't be used: {error}") from error
    method = (quantization(config) or {}).get("quant_method")
    if ref.bitsandbytes is not None and quantization(config) is not None:
        raise ModelLoadError(f"{ref.location}: its weights are quantized already, by {method}: leave out `load`")
    missing = [package for package in ("gptqmodel", "optimum") if method == "gptq" and find_spec(package) is None]
    if missing:
        raise ModelLoadError(f"{ref.location}: its weights are GPTQ, which takes {' and '.join(missing)}: install it")
    return config


def _folder(ref: ModelRef) -> Path:
    if ref.source == Source.HUB:
        return _fetch(ref)
    bundled = ref.source == Source.BUNDLED
    folder = BUNDLED_MODELS / Path(ref.location).name if bundled else Path(ref.location)
    if not (folder / "config.json").is_file():
        raise ModelLoadError(f"{ref.location}: there is no model in this folder")
    if not any(folder.glob("*.safetensors")):
        raise ModelLoadError(f"{ref.location}: there are no *.safetensors; other weight formats are not loaded")
    return folder


def _fetch(ref: ModelRef) -> Path:
    try:
        return Path(snapshot_download(ref.location, revision=ref.revision, allow_patterns=HUB_FILES))
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError) as error:
        raise ModelLoadError(f"{ref.location}: the hub does not have it at {ref.revision}: {error}") from error
