"""The options of a fine-tune, in the names of PEFT and transformers. Imports no torch.

The defaults are those of the experiment that Pagewright grew from.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from models.options import Options

DEFAULT_MAX_STEPS = 100
REPLACED_OPTIMIZERS = {"adamw_hf": "adamw_torch"}
"""Optimizers that transformers no longer has, and those that compute the same."""

ALL_LINEAR = "all-linear"
"""The name in `target_modules` for every linear layer, as PEFT has it."""

ModuleName = Annotated[str, StringConstraints(pattern=rf"^([A-Za-z_][A-Za-z0-9_.]{{0,99}}|{ALL_LINEAR})$")]
Optimizer = Literal["adamw_torch", "adamw_torch_fused", "adamw_hf", "adafactor", "sgd"]
Scheduler = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
]

# The OpenAPI document's version of the validators that check two fields together.
_NOT_NULL: dict[str, Any] = {name: {"not": {"type": "null"}} for name in ("max_steps", "num_train_epochs")}
_TRUE: dict[str, Any] = {name: {"const": True} for name in ("fp16", "bf16")}


def _as_list(targets: Any) -> Any:
    return [ALL_LINEAR] if targets == ALL_LINEAR else targets


def _add_all_linear(schema: dict[str, Any]) -> None:
    schema["anyOf"].append({"const": ALL_LINEAR})


class LoraOptions(Options):
    """Options of PEFT's LoraConfig. The defaults are those of the original experiment."""

    r: int = Field(8, ge=1, le=1024, description="Rank of the update.")
    alpha: int = Field(32, ge=1, le=65_536, description="The update is scaled by `alpha / r`.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout probability of the adapter's inputs.")
    target_modules: Annotated[list[ModuleName] | None, BeforeValidator(_as_list)] = Field(
        None,
        min_length=1,
        max_length=64,
        json_schema_extra=_add_all_linear,
        description="Names of the linear layers that get an adapter, or their ends (`q_proj`, `self_attn.q_proj`, "
        "`experts.down_proj`), or `all-linear`: all but the head, with the experts of mixture models. Null: q_proj, "
        "k_proj, v_proj and o_proj if the model has them, else PEFT's default for the architecture, else `all-linear`.",
    )
    bias: Literal["none", "all", "lora_only"] = Field("none", description="Which biases are trained.")
    task_type: Literal["CAUSAL_LM"] = "CAUSAL_LM"


class TrainingOptions(Options):
    """Options of transformers' TrainingArguments, and some of our own. The defaults are the original experiment's."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"not": {"required": ["max_steps", "num_train_epochs"], "properties": _NOT_NULL}},
                {"not": {"required": ["fp16", "bf16"], "properties": _TRUE}},
            ]
        }
    )

    per_device_train_batch_size: int = Field(2, ge=1, le=4096, description="Rows per device and forward pass.")
    gradient_accumulation_steps: int = Field(
        4, ge=1, le=65_536, description="Forward passes whose gradients are added up for one optimizer step."
    )
    warmup_steps: int = Field(
        2, ge=0, le=10_000_000, description="Steps over which the learning rate rises from 0 to `learning_rate`."
    )
    max_steps: int | None = Field(
        None, ge=1, le=10_000_000, description="Number of optimizer steps. Default: 100, unless epochs are given."
    )
    num_train_epochs: float | None = Field(
        None, gt=0, le=10_000, description="Number of training epochs. Excludes `max_steps`."
    )
    learning_rate: float = Field(2e-4, gt=0, description="Highest learning rate.")
    lr_scheduler_type: Scheduler = Field("linear", description="How the learning rate changes after the warm-up.")
    weight_decay: float = Field(0.0, ge=0, le=1)
    max_grad_norm: float = Field(
        1.0, ge=0, le=1e6, description="Gradients are clipped to this norm. 0 turns clipping off."
    )
    fp16: bool | None = Field(
        None, description="Train in float16. If neither `fp16` nor `bf16` is set, the base model and the device decide."
    )
    bf16: bool | None = Field(None, description="Train in bfloat16. Excludes `fp16`.")
    gradient_checkpointing: bool = Field(False, description="Recompute activations: less memory, more time.")
    packing: bool = Field(
        False,
        description="Fill each row of a batch with several whole examples, up to `max_seq_length` tokens. The examples "
        "do not attend to each other.",
    )
    logging_steps: int = Field(1, ge=1, le=10_000_000, description="Steps between two points of the loss curve.")
    save_steps: int | None = Field(
        50, ge=1, le=10_000_000, description="Steps between two checkpoints. Null: no checkpoints."
    )
    eval_steps: int | None = Field(
        None,
        ge=1,
        le=10_000_000,
        description="Steps between two evaluations on the dataset's other split. Null: no evaluations.",
    )
    optim: Optimizer = Field(
        "adamw_torch", description="The optimizer. transformers no longer has `adamw_hf`: `adamw_torch` replaces it."
    )
    seed: int = Field(42, ge=0, le=2**32 - 1)
    max_seq_length: int | None = Field(
        None,
        ge=8,
        le=1_048_576,
        description="Longest row in tokens; longer rows are left out. Null: the model's context length, but at most "
        "4,096.",
    )
    train_on_prompt: bool = Field(False, description="Include the prompt's tokens in the loss.")
    loss_on: Literal["all", "last"] = Field(
        "all", description="The assistant's turns of a chat that the loss covers: all, or the last."
    )

    @model_validator(mode="before")
    @classmethod
    def _default_length(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("max_steps") is None and fields.get("num_train_epochs") is None:
            return {**fields, "max_steps": DEFAULT_MAX_STEPS}
        return fields

    @field_validator("num_train_epochs")
    @classmethod
    def _one_length(cls, epochs: float | None, others: ValidationInfo) -> float | None:
        if epochs is not None and others.data.get("max_steps") is not None:
            raise ValueError("give either num_train_epochs or max_steps, not both")
        return epochs

    @field_validator("bf16")
    @classmethod
    def _one_precision(cls, bf16: bool | None, others: ValidationInfo) -> bool | None:
        if bf16 and others.data.get("fp16"):
            raise ValueError("give either bf16 or fp16, not both")
        return bf16


def replace_removed_optimizer(options: TrainingOptions) -> TrainingOptions:
    """Return the options with an optimizer that transformers has: unchanged unless theirs was removed."""
    optimizer = REPLACED_OPTIMIZERS.get(options.optim)
    return options.model_copy(update={"optim": optimizer}) if optimizer else options


def halve_batch(options: TrainingOptions) -> TrainingOptions | None:
    """Return options that need about half the memory, or None for a batch size of 1.

    The batch size is at most half of what it was, and gradient accumulation makes up for it: an optimizer step sees as
    many rows as before.
    """
    batch = options.per_device_train_batch_size
    rows = batch * options.gradient_accumulation_steps
    smaller = next((size for size in range(batch // 2, 0, -1) if rows % size == 0), None)
    if smaller is None:
        return None
    sizes = {"per_device_train_batch_size": smaller, "gradient_accumulation_steps": rows // smaller}
    return options.model_copy(update=sizes)


def one_row_at_a_time(options: TrainingOptions) -> TrainingOptions:
    """Return options with a batch size of 1, and as many rows in an optimizer step as before."""
    rows = options.per_device_train_batch_size * options.gradient_accumulation_steps
    return options.model_copy(update={"per_device_train_batch_size": 1, "gradient_accumulation_steps": rows})
