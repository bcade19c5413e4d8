"""LoRA adapters over a model that stays as it is, so that many of them share its weights."""

import copy
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel

from models.loading import bits_and_bytes
from models.loading.refs import ModelLoadError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

_OWN_INITIALIZATIONS = (True, False, "gaussian", "orthogonal", "eva")
"""Ways to begin training that leave the model's own weights alone; PEFT goes that way again when it loads."""


def share(model: PreTrainedModel) -> PreTrainedModel:
    """The model once more, in modules of its own over the same weights, which take no memory twice."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in _tensors(model)})


def tensor_bytes(model: PreTrainedModel, shared: PreTrainedModel | None = None) -> int:
    """The bytes of a model's parameters and buffers, without those that it shares with another."""
    tensors = {tensor.data_ptr(): tensor for tensor in _tensors(model)}
    for tensor in _tensors(shared) if shared is not None else ():
        tensors.pop(tensor.data_ptr(), None)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _tensors(model: PreTrainedModel) -> Iterator[torch.Tensor]:
    """Parameters, buffers, and the scales of weights that are quantized; some may come twice."""
    scales = chain.from_iterable(bits_and_bytes.tensors(state) for state in bits_and_bytes.states(model))
    return chain(model.parameters(), model.buffers(), scales)


def apply(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model with the adapter in `folder` put into its layers, for inference.

    The model's modules are changed (`share` it first to keep them), its weights are not. Nothing is fetched or
    unpickled, whatever the adapter's configuration names. Raises ModelLoadError.
    """
    return cast(PreTrainedModel, wrap(model, folder).base_model.model)


def wrap(model: PreTrainedModel, folder: Path) -> PeftModel:
    """As `apply`, but in PEFT's own wrapper, which can merge the two."""
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / file).is_file():
            raise ModelLoadError(f"{folder}: there is no {file}; adapters in other formats are not loaded")
    try:
        config = PeftConfig.from_pretrained(str(folder))
        _check(config)
        adapted = PeftModel(model, config).eval()
        if config.bias != "none":
            _unshare_biases(adapted)
        weights = load_file(folder / WEIGHTS_FILE, device=str(model.device))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelLoadError(f"{folder}: the adapter can't be loaded: {error}") from error
    # Never state_dict(), for which bitsandbytes changes weights in place that other engines read. PEFT's function that
    # sets weights calls it, the one that gives them does not: here it gives parameters by their names in the file.
    everything = dict(adapted.named_parameters(remove_duplicate=False))
    own = get_peft_model_state_dict(adapted, everything, save_embedding_layers=False)
    misfits = sorted(dict(_shapes(own).items() ^ _shapes(weights).items()))
    if misfits:
        raise ModelLoadError(f"{folder}: the adapter does not fit the model: {misfits[0]} and {len(misfits) - 1} more")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])
    return adapted


def _check(config: Any) -> None:
    if not isinstance(config, LoraConfig):
        raise ValueError(f"it is {config.peft_type}, not LoRA")
    if config.init_lora_weights not in _OWN_INITIALIZATIONS:
        raise ValueError(f"it goes with weights changed by {config.init_lora_weights}; save it converted to plain LoRA")
    if config.megatron_config is not None:
        raise ValueError("it is for Megatron, whose module the configuration names")
    config.init_lora_weights = False
    config.inference_mode = True


def _unshare_biases(model: PeftModel) -> None:
    """The adapter brings biases of its own, and must not write them over those of the model that others run."""
    for module in model.modules():
        bias = dict(module.named_parameters(recurse=False)).get("bias")
        if bias is not None:
            module.bias = torch.nn.Parameter(bias.detach().clone(), requires_grad=False)


def _shapes(weights: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}
