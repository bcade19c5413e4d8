"""Models from the three places that they may come from: shipped with the project, a local folder, the hub."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPTQConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from models import adapters
from models.refs import ModelLoadError, ModelRef, Source

__all__ = ["ModelDescription", "ModelLoadError", "ModelRef", "Source", "default_device", "describe", "load"]

# What PEFT imports for quantized models names a folder in /tmp wherever these are unset, for every child process.
os.environ.setdefault("HF_HOME", constants.HF_HOME)
os.environ.setdefault("HF_HUB_CACHE", constants.HF_HUB_CACHE)

# Weights are safetensors and code is ours: nothing that could run on loading is even fetched.
HUB_FILES = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja"]


@dataclass(frozen=True)
class ModelDescription:
    """What can be known of a model, its adapter aside, without loading it.

    `context_length` is in tokens, `dtype` and `weight_bytes` are the files'; `quantized` is whether weights are in a
    format that can be computed with but not changed.
    """

    architecture: str
    dtype: torch.dtype
    context_length: int
    weight_bytes: int
    quantized: bool


def describe(ref: ModelRef) -> ModelDescription:
    """Read a model's configuration and the size of its weights. Fetches a hub model. Raises ModelLoadError."""
    folder = _folder(ref)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelLoadError(f"{ref.location}: the configuration can't be used: {error}") from error
    return ModelDescription(
        architecture=(config.architectures or [config.model_type])[0],
        dtype=config.dtype or torch.float32,
        context_length=int(config.get_text_config().max_position_embeddings),
        weight_bytes=sum(file.stat().st_size for file in folder.glob("*.safetensors")),
        quantized=getattr(config, "quantization_config", None) is not None,
    )


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def load(
    ref: ModelRef,
    device: str | None = None,
    dtype: torch.dtype | Literal["auto"] | None = None,
    *,
    for_training: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model, its adapter in place, with its tokenizer.

    `for_training` matters to GPTQ weights, whose fastest kernels have no gradient.

    The default device is the GPU where there is one; the default dtype is float32 on the CPU, whose kernels are
    fastest there, and bfloat16 on a GPU; `auto` is the one that the weights are stored in. Raises ModelLoadError for
    what won't change by trying again; a network that fails or memory that runs out is raised as it comes.
    """
    folder = _folder(ref)
    device = device or default_device()
    dtype = dtype or (torch.float32 if device == "cpu" else torch.bfloat16)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        quantized = getattr(config, "quantization_config", None) or {}
        trainable = for_training and quantized.get("quant_method") == "gptq"
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            quantization_config=GPTQConfig(bits=quantized["bits"], backend="auto_trainable") if trainable else None,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError, struct.error) as error:
        raise ModelLoadError(f"{ref.location}: the model can't be loaded: {error}") from error
    placed: PreTrainedModel = cast(Any, model).to(device).eval()
    if ref.adapter is not None:
        placed = adapters.apply(placed, Path(ref.adapter))
    return placed, tokenizer


def _folder(ref: ModelRef) -> Path:
    if ref.source == Source.HUB:
        return _fetch(ref)
    bundled = ref.source == Source.BUNDLED
    folder = Path(__file__).parent / Path(ref.location).name if bundled else Path(ref.location)
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
