"""LoRA fine-tuning of a base model on rows of instruction, input and output."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from models.fine_tuning.errors import FineTuneError
from models.fine_tuning.examples import Example, encode, pack
from models.fine_tuning.options import LoraOptions, TrainingOptions
from models.fine_tuning.precision import choose_precision
from models.fine_tuning.task import FineTuneTask
from models.fine_tuning.trainer import Progress, is_complete, make_trainer
from models.loading.loader import default_device, describe, load
from models.loading.properties import context_length, eos_token_ids
from models.prompts.rows import read_rows
from models.tasks.reports import Event, Report

DEFAULT_MAX_SEQ_LENGTH = 4096


def fine_tune(task: FineTuneTask, report: Callable[[Report], None], should_stop: Callable[[], bool]) -> bool:
    """Train an adapter and write it to the result folder in PEFT's format.

    Calls `should_stop` after every optimizer step. If it returns True, reports a checkpoint and returns False. With
    `accelerate launch`, every process calls this function with the same task, and the first one reports. Raises
    FineTuneError, ModelLoadError, and torch's out-of-memory errors.
    """
    options = task.training
    device = default_device()
    _check_devices(device)
    precision = choose_precision(options, describe(task.base).dtype, device)
    model, tokenizer = load(task.base, device, precision.weights, for_training=True)
    set_seed(options.seed)  # before the adapter is added, since its first weights are random
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
            report(Event("precision", precision.note))
        if too_long:
            report(_rows_left_out(too_long, too_long + len(examples), max_tokens))
    progress = Progress(trainer, report, should_stop)
    trainer.add_callback(progress)
    if task.checkpoint and is_complete(task.checkpoint):  # the process was lost before it wrote the adapter
        adapted.load_adapter(str(task.checkpoint), "default", is_trainable=True)
    else:
        trainer.train(resume_from_checkpoint=str(task.checkpoint) if task.checkpoint else None)
        if progress.stopped:
            return False
    if trainer.is_world_process_zero():
        save_adapter(adapted, task.base_name, task.result_folder)
    return True


def add_adapter(model: PreTrainedModel, lora: LoraOptions) -> PeftModel:
    """Return the model with a new LoRA adapter. Raises FineTuneError for modules that the model does not have."""
    head = model.get_output_embeddings()
    linear = [name for name, module in model.named_modules() if hasattr(module, "in_features") and module is not head]
    names = {name.rsplit(".", 1)[-1] for name in linear}
    if missing := [name for name in lora.target_modules if name not in names]:
        raise FineTuneError(
            f"target_modules: {model.config.model_type} has no {', '.join(missing)}; it has {', '.join(sorted(names))}"
        )
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        bias=lora.bias,
        task_type=lora.task_type,
    )
    adapted = get_peft_model(model, config)
    assert isinstance(adapted, PeftModel)
    return adapted


def save_adapter(adapted: PeftModel, base_name: str, folder: Path) -> None:
    """Write the adapter in PEFT's format, with `base_name` as the name of its base model."""
    # PEFT would store the folder that the base model was loaded from, which means nothing on another machine.
    adapted.peft_config["default"].base_model_name_or_path = base_name
    # "auto" would ask the hub about the base model's vocabulary, which an adapter of linear layers does not change.
    adapted.save_pretrained(str(folder), save_embedding_layers=False)


def read_examples(
    file: Path,
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
    options: TrainingOptions,
    max_tokens: int,
) -> tuple[list[Example], int]:
    """Return the file's rows as examples, and the number of rows left out because they exceed `max_tokens`.

    Raises FineTuneError if every row exceeds `max_tokens`, or if the model has no end-of-sequence token.
    """
    eos = eos_token_ids(model, tokenizer)
    if not eos:
        raise FineTuneError("model: it has no end-of-sequence token, so it can't be taught when to stop")
    encoded = [encode(row, tokenizer, eos[0], options.train_on_prompt) for row in read_rows(file)]
    examples = [example for example in encoded if len(example) <= max_tokens]
    if not examples:
        raise FineTuneError(
            f"max_seq_length: each of the {len(encoded)} rows is longer than {max_tokens} tokens; "
            f"the shortest has {min(map(len, encoded))}"
        )
    return examples, len(encoded) - len(examples)


def _check_devices(device: str) -> None:
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if device == "cuda" and processes > torch.cuda.device_count():
        raise FineTuneError(f"devices: {processes} were requested, but this worker has {torch.cuda.device_count()}")


def _max_seq_length(options: TrainingOptions, model: PreTrainedModel) -> int:
    context = context_length(model.config)
    if options.max_seq_length is None:
        return min(context, DEFAULT_MAX_SEQ_LENGTH)
    if options.max_seq_length > context:
        raise FineTuneError(
            f"max_seq_length is {options.max_seq_length}, but the base model's context length is {context}"
        )
    return options.max_seq_length


def _rows_left_out(too_long: int, total: int, max_tokens: int) -> Event:
    return Event(
        "rows-left-out",
        f"{too_long} of {total} rows are longer than max_seq_length ({max_tokens} tokens) and are left out: a row that "
        "is cut off would teach the model to stop in the middle of a page",
    )
