"""LoRA adapters over a base model whose weights many of them share. The seam to PEFT's internals (0.21).

PEFT's `set_peft_model_state_dict` calls `state_dict()`, for which bitsandbytes changes weights in place that other
engines read. So weights are copied into the parameters that `get_peft_model_state_dict` names, which does not call it
if it is given the parameters. `test_adapters.py` fails when that changes.
"""

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

_INITIALIZATIONS = (True, False, "gaussian", "orthogonal", "eva")
"""Values of `init_lora_weights` that leave the base model's weights as they are. PEFT also applies it to load."""


def share(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy of the model's modules over the same weights, which stay in memory once."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in _tensors(model)})


def tensor_bytes(model: PreTrainedModel, shared: PreTrainedModel | None = None) -> int:
    """Return the bytes of a model's parameters and buffers, without those that it shares with the model `shared`."""
    tensors = {tensor.data_ptr(): tensor for tensor in _tensors(model)}
    for tensor in _tensors(shared) if shared is not None else ():
        tensors.pop(tensor.data_ptr(), None)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _tensors(model: PreTrainedModel) -> Iterator[torch.Tensor]:
    """Yield parameters, buffers, and the scales of quantized weights. Some tensors come twice."""
    scales = chain.from_iterable(bits_and_bytes.tensors(state) for state in bits_and_bytes.states(model))
    return chain(model.parameters(), model.buffers(), scales)


def apply(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Return the model with the adapter in `folder` inserted into its layers, for inference.

    The model's modules are changed, its weights are not: call `share` first to keep the model. Nothing is downloaded or
    unpickled, whatever the adapter's configuration contains. Raises ModelLoadError.
    """
    return cast(PreTrainedModel, wrap(model, folder).base_model.model)


def wrap(model: PreTrainedModel, folder: Path) -> PeftModel:
    """As `apply`, but return PEFT's wrapper, which can merge the adapter."""
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / file).is_file():
            raise ModelLoadError(f"the adapter has no {file}; adapters in other formats are not loaded")
    try:
        config = PeftConfig.from_pretrained(str(folder))
        _check(config)
        adapted = PeftModel(model, config).eval()
        if config.bias != "none":
            _unshare_biases(adapted)
        weights = load_file(folder / WEIGHTS_FILE, device=str(model.device))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        text = str(error).replace(str(folder), "the adapter")
        raise ModelLoadError(f"the adapter can't be loaded: {text}") from error
    parameters = _adapter_parameters(adapted)
    misfits = sorted(dict(_shapes(parameters).items() ^ _shapes(weights).items()))
    if misfits:
        raise ModelLoadError(f"the adapter does not fit the model: {misfits[0]} and {len(misfits) - 1} more")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    return adapted


def _adapter_parameters(model: PeftModel) -> dict[str, torch.Tensor]:
    """Return the adapter's parameters by their names in its weights file."""
    every = dict(model.named_parameters(remove_duplicate=False))
    parameters: dict[str, torch.Tensor] = get_peft_model_state_dict(model, every, save_embedding_layers=False)
    return parameters


def _check(config: Any) -> None:
    """Raise ValueError for an adapter that is not supported, and set the configuration for inference."""
    if not isinstance(config, LoraConfig):
        raise ValueError(f"its type is {config.peft_type}, and only LoRA is supported")
    if config.init_lora_weights not in _INITIALIZATIONS:
        raise ValueError(
            f"it needs base weights changed by {config.init_lora_weights}: save it converted to plain LoRA"
        )
    if config.megatron_config is not None:
        raise ValueError("it is for Megatron, which is not supported")
    config.init_lora_weights = False
    config.inference_mode = True


def _unshare_biases(model: PeftModel) -> None:
    """Copy the biases, so that the adapter's do not overwrite those of the shared base model."""
    for module in model.modules():
        bias = dict(module.named_parameters(recurse=False)).get("bias")
        if bias is not None:
            module.bias = torch.nn.Parameter(bias.detach().clone(), requires_grad=False)


def _shapes(weights: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}
