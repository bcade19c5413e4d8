"""The LoRA adapter of a fine-tune: which weights it changes, and its files."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from models.fine_tuning.errors import FineTuneError
from models.fine_tuning.options import ALL_LINEAR, LoraOptions
from models.tasks.reports import Event

ORIGINAL = ("q_proj", "k_proj", "v_proj", "o_proj")
"""The targets of the original experiment: the default for a model that has them all."""

NOT_LINEAR = ("Router", "GroupedLinear")
"""In the names of transformers' subclasses of Linear: routers also choose experts, and groups have their own inputs."""


def add_adapter(model: PreTrainedModel, lora: LoraOptions) -> PeftModel:
    """Return the model with a new LoRA adapter. Raises FineTuneError for names that the model does not have."""
    layers, experts = _linear_layers(model), _expert_weights(model)
    names = lora.target_modules or _default_targets(model, layers)
    if ALL_LINEAR in names:
        targets, parameters = list(layers), list(experts)
    else:
        _refuse_unknown(model, names, [*layers, *experts])
        targets, parameters = ([name for name in every if _matches(name, names)] for every in (layers, experts))
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=0.0 if parameters else lora.dropout,  # PEFT has no dropout for experts
        target_modules=_short(targets, (name for name, _ in model.named_modules())),
        target_parameters=_short(parameters, (name for name, _ in model.named_parameters()), parts=2) or None,
        bias=lora.bias,
        task_type=lora.task_type,
        fan_in_fan_out=any(isinstance(layers[name], Conv1D) for name in targets),
    )
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:  # PEFT has no adapter for a kind of layer, or for this mix of them
        raise FineTuneError(f"target_modules: PEFT can't adapt these layers of {_type(model)}: {error}") from error
    assert isinstance(adapted, PeftModel)
    if ALL_LINEAR not in names and (skipped := _without_adapter(adapted, targets)):
        raise FineTuneError(
            f"target_modules: PEFT adapts the experts of {_type(model)} in place of {', '.join(skipped)}: name other "
            f"layers, such as {', '.join(_kinds(experts, 2))}, or use {ALL_LINEAR}"
        )
    return adapted


def adapter_events(adapted: PeftModel, lora: LoraOptions) -> list[Event]:
    """Return what a user should know about the adapter: a dropout that is not used, and weights that are left out."""
    config: Any = adapted.peft_config["default"]
    events = []
    if config.lora_dropout != lora.dropout:
        message = f"dropout is 0 instead of {lora.dropout:g}: experts are adapted, which PEFT does without dropout"
        events.append(Event("dropout", message))
    share, kinds = _left_out(cast(PreTrainedModel, adapted.base_model.model))
    if ALL_LINEAR in (lora.target_modules or ()) and share >= 0.001:
        message = f"{share:.1%} of the weights in the model's blocks have no adapter: {', '.join(kinds)}"
        events.append(Event("weights-left-out", message))
    return events


def save_adapter(adapted: PeftModel, base_name: str, base_revision: str | None, folder: Path) -> None:
    """Write the adapter in PEFT's format, with the name and revision of its base model."""
    # PEFT would store the folder that the base model was loaded from, which means nothing on another machine.
    config: Any = adapted.peft_config["default"]
    config.base_model_name_or_path, config.revision = base_name, base_revision
    # "auto" would ask the hub about the base model's vocabulary, which an adapter of linear layers does not change.
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink()  # an empty form that names the folder of the base model


def _default_targets(model: PreTrainedModel, layers: Iterable[str]) -> list[str]:
    """Return the original experiment's targets, else PEFT's for the architecture, else all linear layers."""
    ours = {_leaf(name) for name in layers}
    if ours.issuperset(ORIGINAL):
        return list(ORIGINAL)
    known = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(_type(model))
    return list(known) if isinstance(known, list) and ours.issuperset(known) else [ALL_LINEAR]


def _linear_layers(model: PreTrainedModel) -> dict[str, torch.nn.Module]:
    """Return the linear layers of the decoder by name, quantized ones included, that can have an adapter.

    Left out are the head, subclasses of Linear that compute something else, and the last layer of Mamba's mixers, whose
    kernels pass an adapter by.
    """
    head = model.get_output_embeddings()
    layers = _in_decoder(
        model,
        lambda module: (
            module is not head
            and (hasattr(module, "in_features") or isinstance(module, Conv1D))
            and not any(kind in type(module).__name__ for kind in NOT_LINEAR)
        ),
    )
    mixers = [name for name, module in model.named_modules() if hasattr(module, "ssm_state_size")]
    return {name: layer for name, layer in layers.items() if name not in {f"{mixer}.out_proj" for mixer in mixers}}


def _expert_weights(model: PreTrainedModel) -> dict[str, torch.nn.Parameter]:
    """Return the weights that hold all experts of a layer, [experts, rows, columns], by name."""
    experts = _in_decoder(model, lambda module: hasattr(module, "_parameters") and not hasattr(module, "in_features"))
    return {
        f"{owner}.{name}": parameter
        for owner, module in experts.items()
        if _leaf(owner) == "experts"
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.ndim == 3
    }


def _in_decoder(model: PreTrainedModel, wanted: Callable[[torch.nn.Module], bool]) -> dict[str, torch.nn.Module]:
    """Return modules by name, without those of encoders for images and sound, which rows of text do not pass."""
    decoder: Any = model.get_decoder()
    inside = {id(module) for module in (decoder if isinstance(decoder, PreTrainedModel) else model).modules()}
    return {name: module for name, module in model.named_modules() if id(module) in inside and wanted(module)}


def _refuse_unknown(model: PreTrainedModel, names: Iterable[str], known: list[str]) -> None:
    unknown = [name for name in names if not any(_matches(own, [name]) for own in known)]
    if not unknown:
        return
    head = model.get_output_embeddings()
    heads = [name for name, module in model.named_modules() if module is head]
    about_head = f"; {heads[0]} is left out, since its weights may be those of the embedding" if heads else ""
    raise FineTuneError(
        f"target_modules: {_type(model)} has no {', '.join(unknown)}; it has {', '.join(_kinds(known))}{about_head}"
    )


def _without_adapter(adapted: PeftModel, layers: Iterable[str]) -> list[str]:
    """Return those of the layers that got no adapter, since PEFT gave them another meaning."""
    model = cast(PreTrainedModel, adapted.base_model.model)
    return _kinds(name for name in layers if not isinstance(model.get_submodule(name), LoraLayer))


def _left_out(model: PreTrainedModel) -> tuple[float, list[str]]:
    """Return the share of the decoder's weights that no adapter changes, and the names of these weights."""
    adapted: set[int] = set()
    for module in model.modules():
        if isinstance(module, LoraLayer):
            base: Any = module.get_base_layer()
            name = getattr(module, "parameter_name", None)  # PEFT's layer for experts adapts one weight of its module
            adapted |= {id(weight) for weight in ([getattr(base, name)] if name else base.parameters())}
    embeddings = (model.get_input_embeddings(), model.get_output_embeddings())
    weights = {
        f"{owner}.{name}": parameter
        for owner, module in _in_decoder(model, lambda module: module not in embeddings).items()
        if not isinstance(module, torch.nn.Embedding | torch.nn.Conv1d) and "lora_" not in owner
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.ndim > 1
    }
    left = {name: weight for name, weight in weights.items() if id(weight) not in adapted}
    total = sum(weight.numel() for weight in weights.values())
    share = sum(weight.numel() for weight in left.values()) / max(1, total)
    return share, _kinds((name.removesuffix(".weight").replace(".base_layer", "") for name in left), 2)


def _kinds(names: Iterable[str], parts: int = 1) -> list[str]:
    """Return the last parts of the names without the numbers of blocks, each once."""
    words = [[word for word in name.split(".") if not word.isdigit()] for name in names]
    return sorted({".".join(each[-parts:]) for each in words})


def _matches(name: str, suffixes: Iterable[str]) -> bool:
    return any(name == suffix or name.endswith(f".{suffix}") for suffix in suffixes)


def _short(chosen: list[str], every: Iterable[str], parts: int = 1) -> list[str]:
    """Return the last parts of the names, or the whole names where these would also match what is not chosen."""
    wanted, others = set(chosen), set(every)
    others -= wanted
    short = {name: ".".join(name.split(".")[-parts:]) for name in chosen}
    taken = {end for end in set(short.values()) if any(_matches(name, [end]) for name in others)}
    return sorted({name if end in taken else end for name, end in short.items()})


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _type(model: PreTrainedModel) -> str:
    return str(model.config.model_type)
