"""Loads models that are shipped with Pagewright, in a local folder, or on the Hugging Face hub."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from huggingface_hub import constants
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from models.loading import adapters, bits_and_bytes, gptq
from models.loading.model_files import load_error, model_folder, read_config, stored_quantization, stored_weights
from models.loading.properties import context_length
from models.loading.refs import ModelLoadError, ModelRef
from models.loading.tokenizer import read_tokenizer
from models.loading.weights import stored_bytes

# A library that PEFT imports for quantized models sets unset variables to a folder in /tmp, for child processes too.
os.environ.setdefault("HF_HOME", constants.HF_HOME)
os.environ.setdefault("HF_HUB_CACHE", constants.HF_HUB_CACHE)


@dataclass(frozen=True)
class ModelDescription:
    """What is known of a model, without its adapter, before it is loaded.

    - `context_length` is in tokens; `dtype` and `weight_bytes` are those of the files.
    - `quantized`: whether the weights are quantized, in the files or while they are loaded, so that they can't be
      changed.
    """

    architecture: str
    dtype: torch.dtype
    context_length: int
    weight_bytes: int
    quantized: bool


def describe(ref: ModelRef) -> ModelDescription:
    """Describe a model from its configuration and the sizes of its files.

    Downloads a hub model. Raises ModelLoadError.
    """
    folder = model_folder(ref)
    config = read_config(ref, folder)
    return ModelDescription(
        architecture=(config.architectures or [config.model_type])[0],
        dtype=config.dtype or torch.float32,
        context_length=context_length(config),
        weight_bytes=sum(file.stat().st_size for file in stored_weights(ref, folder, config)),
        quantized=ref.bitsandbytes is not None or stored_quantization(config) is not None,
    )


def loaded_bytes(ref: ModelRef, device: str) -> int:
    """Estimate the memory that the model's weights, without its adapter, take on `device` in its default dtype.

    Downloads a hub model. Raises ModelLoadError.
    """
    folder = model_folder(ref)
    config = read_config(ref, folder)
    float_bytes = _default_dtype(device).itemsize
    files = stored_weights(ref, folder, config)
    try:
        if ref.bitsandbytes is not None:
            return bits_and_bytes.loaded_bytes(config, ref.bitsandbytes, float_bytes)
        return stored_bytes(files, float_bytes)
    except Exception as error:  # transformers raises whatever a broken file leads to
        raise load_error(ref, folder, "the weights can't be read", error) from error


def default_device() -> str:
    """Return `cuda` if there is a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def gpu_memory() -> list[tuple[int, int]]:
    """Return the used bytes, by all processes, and the total bytes of each GPU that this process sees."""
    if not torch.cuda.is_available():
        return []
    memory = [torch.cuda.mem_get_info(gpu) for gpu in range(torch.cuda.device_count())]
    return [(total - free, total) for free, total in memory]


def load(
    ref: ModelRef,
    device: str | None = None,
    dtype: torch.dtype | Literal["auto"] | None = None,
    *,
    for_training: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model with its adapter, and its tokenizer. The model is in evaluation mode.

    `device` defaults to the GPU if there is one. `dtype` defaults to bfloat16 on a GPU and to float32, which is faster
    there, on a CPU; `auto` is that of the files. `for_training` chooses kernels that have a gradient for quantized
    weights; those for inference are faster.

    Raises ModelLoadError for an error that remains if loading is tried again. Errors of the network and of full memory
    are raised as they are.
    """
    folder = model_folder(ref)
    config = read_config(ref, folder)
    stored_weights(ref, folder, config)
    device = device or default_device()
    dtype = dtype or _default_dtype(device)
    quantization = _quantization_options(ref, config, device, dtype, for_training)
    model = _read_weights(ref, folder, config=config, dtype=dtype, **quantization)
    tokenizer = read_tokenizer(ref, folder)
    if ref.bitsandbytes is not None:
        bits_and_bytes.settle(model, for_training=for_training)
    if not quantization:
        model = cast(Any, model).to(device)
    model.eval()
    if ref.adapter is not None:
        model = adapters.apply(model, Path(ref.adapter))
    return model, tokenizer


def _default_dtype(device: str) -> torch.dtype:
    return torch.float32 if device == "cpu" else torch.bfloat16


def _quantization_options(
    ref: ModelRef, config: Any, device: str, dtype: torch.dtype | Literal["auto"], for_training: bool
) -> dict[str, Any]:
    """Return transformers' options for quantized weights: where they are placed, and how they are quantized.

    Empty if the weights are not quantized. For GPTQ weights, also sets the kernel in `config`.
    """
    stored = stored_quantization(config)
    if stored is None and ref.bitsandbytes is None:
        return {}
    # Quantized weights are read to their device, as kernels are chosen for it before. In distributed training each
    # process has its own GPU.
    place = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device
    options: dict[str, Any] = {"device_map": {"": place}}
    if ref.bitsandbytes is not None:
        bits_and_bytes.check(ref.bitsandbytes, device)
        compute_dtype = (config.dtype or torch.float32) if dtype == "auto" else dtype
        options["quantization_config"] = bits_and_bytes.config(ref.bitsandbytes, compute_dtype)
    elif stored is not None:
        gptq.register()
        if for_training:
            stored["backend"] = "auto_trainable"
        elif device == "cuda":
            # By default gptqmodel downloads the source of a kernel and compiles it.
            stored["backend"] = "gptq_torch"
    return options


def _read_weights(ref: ModelRef, folder: Path, **options: Any) -> PreTrainedModel:
    try:
        model, report = cast(Any, AutoModelForCausalLM).from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **options
        )
    except Exception as error:  # transformers raises whatever a broken file leads to
        raise load_error(ref, folder, "the model can't be loaded", error) from error
    # transformers fills missing weights with random numbers.
    _refuse(ref, "its files lack the weights", report["missing_keys"] & set(model.state_dict(keep_vars=True)))
    # A tensor beside others of the same module would have changed what the module computes.
    _refuse(ref, "its configuration does not fit the weights", filter(_has_siblings(model), report["unexpected_keys"]))
    return model


def _refuse(ref: ModelRef, reason: str, tensors: Iterable[str]) -> None:
    names = sorted(tensors)
    if names:
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise ModelLoadError(f"{ref.label}: {reason} {names[0]}{others}")


def _has_siblings(model: PreTrainedModel) -> Callable[[str], bool]:
    stored = {name.rpartition(".")[0] for name in model.state_dict(keep_vars=True)}
    return lambda name: name.rpartition(".")[0] in stored
