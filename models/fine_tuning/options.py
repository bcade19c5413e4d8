"""What a fine-tune can be asked for, in the names of PEFT and transformers. Imports no torch.

The defaults are the recipe of the experiment that Pagewright grew from.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class LoraOptions:
    """`r` >= 1 is the rank, `alpha` / r scales the update, 0 <= `dropout` < 1; the modules are named by suffix."""

    r: int = 8
    alpha: int = 32
    dropout: float = 0.05
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    bias: str = "none"
    task_type: str = "CAUSAL_LM"


@dataclass(frozen=True)
class TrainingOptions:
    """transformers' TrainingArguments by their own names, and what is ours beside them.

    `num_train_epochs` counts when `max_steps` is None. `fp16` and `bf16` None let the device and the model choose.
    With `packing` a batch's rows are each filled up to `max_seq_length` tokens with whole examples, which do not see
    one another. `max_seq_length` None means the model's context, but at most 4,096. `save_steps` or `eval_steps` None
    means never.
    """

    per_device_train_batch_size: int = 2
    gradient_accumulation_steps: int = 4
    warmup_steps: int = 2
    max_steps: int | None = 100
    num_train_epochs: float | None = None
    learning_rate: float = 2e-4
    lr_scheduler_type: str = "linear"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    fp16: bool | None = None
    bf16: bool | None = None
    gradient_checkpointing: bool = False
    packing: bool = False
    logging_steps: int = 1
    save_steps: int | None = 50
    eval_steps: int | None = None
    optim: str = "adamw_torch"
    seed: int = 42
    max_seq_length: int | None = None
    train_on_prompt: bool = False


def halved(options: TrainingOptions) -> TrainingOptions | None:
    """The same training in half the memory: at most half the batch, and the accumulation that makes up for it.

    An optimizer step sees as many rows as before. None for a batch of one.
    """
    batch = options.per_device_train_batch_size
    rows = batch * options.gradient_accumulation_steps
    smaller = next((size for size in range(batch // 2, 0, -1) if rows % size == 0), None)
    if smaller is None:
        return None
    return replace(options, per_device_train_batch_size=smaller, gradient_accumulation_steps=rows // smaller)
