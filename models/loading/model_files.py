"""The files of a model: where they are, and what its configuration says."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from transformers import AutoConfig, PreTrainedConfig

from models.loading import hub
from models.loading.description import refused_model
from models.loading.quantization_config import CONFIG, read_quantization_config, refused_quantization
from models.loading.refs import ModelLoadError, ModelRef, Source
from models.loading.weights import STANDARD_WEIGHTS, weight_files, weights_name
from models.tasks.errors import is_out_of_memory

BUNDLED_MODELS = Path(__file__).parents[1]

GPTQ_PACKAGES = ("gptqmodel", "optimum")


def model_folder(ref: ModelRef) -> Path:
    """Return the folder of the model's files, and download a hub model to it.

    Raises ModelLoadError, and HubUnreachable if the hub is needed and does not answer.
    """
    if ref.source == Source.HUB:
        if ref.revision is None:
            raise ModelLoadError(f"{ref.label}: a hub model needs a commit")
        return hub.fetch(ref.location, ref.revision)
    bundled = ref.source == Source.BUNDLED
    folder = BUNDLED_MODELS / Path(ref.location).name if bundled else Path(ref.location)
    if not (folder / CONFIG).is_file():
        raise ModelLoadError(f"{ref.label}: the folder does not exist or has no {CONFIG}")
    return folder


def read_config(ref: ModelRef, folder: Path) -> Any:
    """Return the model's configuration, whose `quantization_config` is set if its weights are quantized.

    Raises ModelLoadError if it can't be used, if the options of `ref` don't fit it, or if a package is missing.
    """
    try:
        config = _complete_config(folder)
    except Exception as error:  # transformers raises whatever a broken file leads to
        raise load_error(ref, folder, "the configuration can't be used", error) from error
    refused = refused_model(config.to_dict())
    if refused:
        raise ModelLoadError(f"{ref.label}: {refused}")
    quantization = stored_quantization(config)
    if quantization is None:
        return config
    reason = refused_quantization(quantization)
    if reason:
        raise ModelLoadError(f"{ref.label}: {reason}")
    if ref.bitsandbytes is not None:
        raise ModelLoadError(f"{ref.label}: the weights are already quantized, by gptq: leave out `load`")
    missing = [package for package in GPTQ_PACKAGES if find_spec(package) is None]
    if missing:
        raise ModelLoadError(f"{ref.label}: GPTQ weights need {' and '.join(missing)}: install it on this worker")
    return config


def stored_quantization(config: PreTrainedConfig) -> dict[str, Any] | None:
    """Return how the stored weights are quantized, `quant_method` and its settings, or None if they are not."""
    return getattr(config, "quantization_config", None)


def stored_weights(ref: ModelRef, folder: Path, config: PreTrainedConfig) -> list[Path]:
    """Return the files that the model's weights are read from. Raises ModelLoadError."""
    try:
        files = weight_files(folder, _weights_name(folder, config))
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise ValueError(f"there is no {missing[0]}")
    except (OSError, ValueError) as error:
        raise load_error(ref, folder, "the weights can't be loaded", error) from error
    return files


def load_error(ref: ModelRef, folder: Path, what: str, error: BaseException) -> ModelLoadError:
    """Return the error for a model whose files can't be used: `what`, and the reason without a path of this machine.

    Raises `error` itself if it says that memory is full or that the GPU failed, since another try may succeed.
    """
    if is_out_of_memory(error) or isinstance(error, torch.AcceleratorError):
        raise error
    text = str(error).strip()
    if not text or isinstance(error, LookupError | AttributeError | TypeError):  # these do not explain themselves
        text = f"{type(error).__name__} {text}".strip()
    for path in (folder, folder.resolve(), ref.location if ref.source == Source.LOCAL else folder):
        text = text.replace(str(path), ref.label)
    return ModelLoadError(f"{ref.label}: {what}: {text.replace(constants.HF_HUB_CACHE, ref.label)}")


def _complete_config(folder: Path) -> PreTrainedConfig:
    """Read the configuration, and complete it from AutoGPTQ's file, which transformers does not read."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if stored_quantization(config) is not None:
        return config
    quantization = read_quantization_config(folder)
    if quantization is not None:
        config.quantization_config = quantization
        weights = _weights_name(folder, config)
        if weights not in STANDARD_WEIGHTS:
            config.transformers_weights = weights
    return config


def _weights_name(folder: Path, config: PreTrainedConfig) -> str:
    names = [file.name for file in folder.glob("*.safetensors*")]
    return getattr(config, "transformers_weights", None) or weights_name(names, stored_quantization(config))
