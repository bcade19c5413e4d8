"""LoRA adapters over a model that stays as it is, so that many of them share its weights."""

import copy
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel

from models.refs import ModelLoadError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

_OWN_INITIALIZATIONS = (True, False, "gaussian", "orthogonal", "eva")
"""Ways to begin training that leave the model's own weights alone; PEFT goes that way again when it loads."""


def share(model: PreTrainedModel) -> PreTrainedModel:
    """The model once more, in modules of its own over the same weights, which take no memory twice."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())})


def tensor_bytes(model: PreTrainedModel, shared: PreTrainedModel | None = None) -> int:
    """The bytes of a model's parameters and buffers, without those that it shares with another."""
    tensors = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    for tensor in chain(shared.parameters(), shared.buffers()) if shared is not None else ():
        tensors.pop(id(tensor), None)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


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
    expected = _shapes(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    misfits = sorted(dict(expected.items() ^ _shapes(weights).items()))
    if misfits:
        raise ModelLoadError(f"{folder}: the adapter does not fit the model: {misfits[0]} and {len(misfits) - 1} more")
    set_peft_model_state_dict(adapted, weights)
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
