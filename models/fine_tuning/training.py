"""LoRA fine-tuning of a base model on rows of instruction, input and output."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from models.fine_tuning.examples import Example, encode, pack
from models.fine_tuning.options import LoraOptions, TrainingOptions
from models.fine_tuning.precision import choose_precision
from models.fine_tuning.trainer import FineTuneError, Progress, make_trainer
from models.loading.loader import default_device, describe, load
from models.loading.properties import context_length, eos_token_ids
from models.loading.refs import ModelRef
from models.prompts.rows import read_rows
from models.tasks.reports import Happened, Report

DEFAULT_MAX_SEQ_LENGTH = 4096


@dataclass(frozen=True)
class FineTuneTask:
    """`train` and `evaluation` are Parquet files with the columns instruction, input and output.

    `base_name` is what the adapter will say that it belongs to. `work_folder` gets the checkpoints and, in `made`,
    the adapter; `checkpoint`, if any, is a folder that an earlier run of the same task reported.
    """

    base: ModelRef
    base_name: str
    train: Path
    evaluation: Path | None
    lora: LoraOptions
    training: TrainingOptions
    work_folder: Path
    checkpoint: Path | None = None


def fine_tune(task: FineTuneTask, report: Callable[[Report], None], should_stop: Callable[[], bool]) -> bool:
    """Train an adapter and write it to the work folder as PEFT does. False if it was stopped: a checkpoint is reported.

    `should_stop` is asked after every optimizer step. Under `accelerate launch` all processes call this with the same
    task, and the first one reports. Raises FineTuneError, ModelLoadError, and torch's out-of-memory errors.
    """
    options = task.training
    device = default_device()
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if device == "cuda" and processes > torch.cuda.device_count():
        raise FineTuneError(f"devices: {processes} are asked for, but this worker has {torch.cuda.device_count()}")
    precision = choose_precision(options, describe(task.base).dtype, device)
    model, tokenizer = load(task.base, device, precision.weights, for_training=True)
    # Before the adapter is made: its first weights are drawn from the seed, too.
    set_seed(options.seed)
    adapted = add_adapter(model, task.lora)
    max_tokens = _max_seq_length(options, model)
    examples, too_long = read_examples(task.train, tokenizer, model, options, max_tokens)
    rows = pack(examples, max_tokens) if options.packing else [[example] for example in examples]
    evaluation = None
    if task.evaluation and options.eval_steps:
        evaluation = pack(read_examples(task.evaluation, tokenizer, model, options, max_tokens)[0], max_tokens)

    trainer = make_trainer(adapted, rows, evaluation, options, task.work_folder, precision.fp16, precision.bf16)
    if trainer.is_world_process_zero():
        if precision.note:
            report(Happened("precision", precision.note))
        if too_long:
            report(
                Happened(
                    "rows-left-out",
                    f"{too_long} of {too_long + len(examples)} rows are longer than max_seq_length, {max_tokens} "
                    "tokens, and are left out: cut off, they would teach the model to stop in the middle",
                )
            )
    progress = Progress(trainer, report, should_stop)
    trainer.add_callback(progress)
    if task.checkpoint and _is_last(task.checkpoint):
        trainer._load_from_checkpoint(str(task.checkpoint))
    else:
        trainer.train(resume_from_checkpoint=str(task.checkpoint) if task.checkpoint else None)
        if progress.stopped:
            return False
    if trainer.is_world_process_zero():
        save_adapter(adapted, task.base_name, task.work_folder / "made")
    return True


def add_adapter(model: PreTrainedModel, lora: LoraOptions) -> PeftModel:
    """The model with a fresh LoRA adapter on it. Raises FineTuneError for modules that it does not have."""
    head = model.get_output_embeddings()
    linear = [name for name, module in model.named_modules() if hasattr(module, "in_features") and module is not head]
    has = {name.rsplit(".", 1)[-1] for name in linear}
    if lacking := [name for name in lora.target_modules if name not in has]:
        raise FineTuneError(
            f"target_modules: {model.config.model_type} has no {', '.join(lacking)}; it has {', '.join(sorted(has))}"
        )
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        bias=lora.bias,  # type: ignore[arg-type]  # a Literal of theirs
        task_type=lora.task_type,
    )
    adapted = get_peft_model(model, config)
    assert isinstance(adapted, PeftModel)
    return adapted


def save_adapter(adapted: PeftModel, base_name: str, folder: Path) -> None:
    """Write the adapter as PEFT does; it says that it belongs to `base_name`."""
    # PEFT takes the folder that the base was loaded from, which means nothing on another machine.
    adapted.peft_config["default"].base_model_name_or_path = base_name
    # Not "auto": that asks the hub about the base model's vocabulary, which an adapter of linear layers leaves alone.
    adapted.save_pretrained(str(folder), save_embedding_layers=False)


def read_examples(
    file: Path,
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    options: TrainingOptions,
    max_tokens: int,
) -> tuple[list[Example], int]:
    """The file's rows in tokens, and how many are left out as longer than `max_tokens`. Raises FineTuneError if all."""
    eos = eos_token_ids(model, tokenizer)
    if not eos:
        raise FineTuneError("the base model names no token that ends a text, so it can't be taught when to stop")
    encoded = [encode(row, tokenizer, eos[0], options.train_on_prompt) for row in read_rows(file)]
    examples = [example for example in encoded if len(example) <= max_tokens]
    if not examples:
        raise FineTuneError(
            f"max_seq_length: each of the {len(encoded)} rows is longer than {max_tokens} tokens; "
            f"the shortest has {min(map(len, encoded))}"
        )
    return examples, len(encoded) - len(examples)


def _max_seq_length(options: TrainingOptions, model: PreTrainedModel) -> int:
    context = context_length(model.config)
    if options.max_seq_length is None:
        return min(context, DEFAULT_MAX_SEQ_LENGTH)
    if options.max_seq_length > context:
        raise FineTuneError(f"max_seq_length is {options.max_seq_length}, but the base model's context is {context}")
    return options.max_seq_length


def _is_last(checkpoint: Path) -> bool:
    """Whether nothing is left to train after this checkpoint: its process was lost before it wrote the adapter."""
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    return bool(state["global_step"] >= state["max_steps"])
