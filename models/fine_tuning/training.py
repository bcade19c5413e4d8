"""LoRA fine-tuning of a base model on rows of instruction, input and output."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedModel, set_seed

from models.fine_tuning.adapter import adapter_events, add_adapter, save_adapter
from models.fine_tuning.batching import Way
from models.fine_tuning.check import Choice, choose_way, length_dependence
from models.fine_tuning.errors import FineTuneError
from models.fine_tuning.examples import Example, encode, pack
from models.fine_tuning.options import TrainingOptions
from models.fine_tuning.precision import choose_precision
from models.fine_tuning.task import FineTuneTask
from models.fine_tuning.trainer import Progress, is_complete, make_trainer
from models.loading.loader import default_device, describe, load
from models.loading.properties import context_length, first_end
from models.loading.refs import ModelLoadError
from models.prompts.chat import Prompter
from models.prompts.rows import read_rows
from models.prompts.templates import PromptError
from models.tasks.reports import Event, PromptTemplate, Report

DEFAULT_MAX_SEQ_LENGTH = 4096


def fine_tune(task: FineTuneTask, report: Callable[[Report], None], should_stop: Callable[[], bool]) -> bool:
    """Train an adapter and write it to the result folder in PEFT's format.

    Calls `should_stop` after every optimizer step. If it returns True, reports a checkpoint and returns False. With
    `accelerate launch`, every process calls this function with the same task, and the first one reports. Raises
    FineTuneError, PromptError, ModelLoadError, and torch's out-of-memory errors.
    """
    options = task.training
    device = default_device()
    _check_devices(device)
    precision = choose_precision(options, describe(task.base).dtype, device)
    model, tokenizer = load(task.base, device, precision.weights, for_training=True)
    set_seed(options.seed)  # before the adapter is added, since its first weights are random
    adapted = add_adapter(model, task.lora)
    max_tokens = _max_seq_length(options, model)
    prompter = Prompter(tokenizer, task.prompt, first_end(model, tokenizer))
    tokenizer.chat_template = prompter.exported()
    vocabulary = cast(Any, model.get_input_embeddings()).weight.shape[0]
    examples, left_out = read_examples(task.train, prompter, options, max_tokens, vocabulary)
    evaluation: list[Example] = []
    if task.evaluation and options.eval_steps:
        evaluation, _ = read_examples(task.evaluation, prompter, options, max_tokens, vocabulary)
    choice = choose_way(model, [*examples, *evaluation])

    trainer = make_trainer(
        adapted,
        _rows(examples, max_tokens, options.packing and choice.way == Way.PACKED),
        _rows(evaluation, max_tokens, choice.way == Way.PACKED),
        options,
        choice.way,
        task.work_folder,
        precision.fp16,
        precision.bf16,
    )
    if trainer.is_world_process_zero():
        if precision.note:
            report(Event("precision", precision.note))
        report(PromptTemplate(prompter.template.name, prompter.template.text))
        for event in [*adapter_events(adapted, task.lora), *left_out]:
            report(event)
        if choice.reason:
            report(_batches(choice, model.config.model_type, options))
    progress = Progress(trainer, report, should_stop)
    trainer.add_callback(progress)
    if task.checkpoint and is_complete(task.checkpoint):  # the process was lost before it wrote the adapter
        adapted.load_adapter(str(task.checkpoint), "default", is_trainable=True)
    else:
        trainer.train(resume_from_checkpoint=str(task.checkpoint) if task.checkpoint else None)
        if progress.stopped:
            return False
    if trainer.is_world_process_zero():
        save_adapter(adapted, task.base_name, task.base.revision, task.result_folder)
        tokenizer.save_pretrained(task.result_folder)
    return True


def read_examples(
    file: Path, prompter: Prompter, options: TrainingOptions, max_tokens: int, vocabulary: int
) -> tuple[list[Example], list[Event]]:
    """Return the file's rows as examples, and events about rows left out, which say why.

    Raises FineTuneError if every row is left out, and names the row that the template can't render.
    Raises ModelLoadError if the tokenizer does not fit a model with embeddings of `vocabulary` tokens.
    """
    examples: list[Example] = []
    rows = too_long = nothing_to_learn = 0
    shortest: int | None = None
    for number, row in enumerate(read_rows(file)):
        rows = number + 1
        try:
            encoded = encode(
                row,
                prompter,
                train_on_prompt=options.train_on_prompt,
                last_turn_only=options.loss_on == "last",
            )
        except PromptError as error:
            raise FineTuneError(f"row {number} (from 0): {error}") from error
        _check_tokens(encoded, number, vocabulary)
        fitting = [example for example in encoded if len(example) <= max_tokens]
        too_long += len(fitting) < len(encoded)
        nothing_to_learn += not encoded
        shortest = min([*map(len, encoded), *([] if shortest is None else [shortest])], default=None)
        examples += fitting
    if not examples and nothing_to_learn == rows:
        raise FineTuneError(f"dataset: none of the {rows} rows has an answer to learn: those to learn have weight 0")
    if not examples:
        raise FineTuneError(
            f"max_seq_length: each of the {rows} rows is longer than {max_tokens} tokens; the shortest has {shortest}"
        )
    events = []
    if too_long:
        events.append(_rows_left_out(too_long, rows, max_tokens))
    if nothing_to_learn:
        message = f"{nothing_to_learn} of {rows} rows are left out: the answers to learn have weight 0"
        events.append(Event("rows-without-loss", message))
    return examples, events


def _check_tokens(examples: list[Example], row: int, vocabulary: int) -> None:
    for example in examples:
        if (largest := int(example.tokens.max())) >= vocabulary:
            raise ModelLoadError(
                f"model: its tokenizer does not fit it: row {row} (from 0) has the token {largest}, but the model has "
                f"embeddings for the tokens 0 to {vocabulary - 1}: register the model with its own tokenizer"
            )


def _rows(examples: list[Example], max_tokens: int, packing: bool) -> list[list[Example]]:
    return pack(examples, max_tokens) if packing else [[example] for example in examples]


def _check_devices(device: str) -> None:
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if device == "cuda" and processes > torch.cuda.device_count():
        raise FineTuneError(f"devices: {processes} were requested, but this worker has {torch.cuda.device_count()}")


def _max_seq_length(options: TrainingOptions, model: PreTrainedModel) -> int:
    context = context_length(model.config)
    dependence = length_dependence(model.config)
    if dependence and dependence.rope_type == "dynamic" and dependence.border < context:
        context = dependence.border
        if (options.max_seq_length or 0) > context:
            raise FineTuneError(
                f"max_seq_length is {options.max_seq_length}, but with the model's dynamic RoPE scaling, the angles of "
                f"a row of more than {context} tokens depend on the rows before it: lower it to {context}"
            )
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


def _batches(choice: Choice, architecture: str, options: TrainingOptions) -> Event:
    consequence = {
        Way.PADDED: "each row of a batch is padded and masked",
        Way.SINGLE: "each batch is one row, and gradient_accumulation_steps makes up for it",
        Way.PACKED: "",
    }[choice.way]
    packing = "; packing is off" if options.packing else ""
    return Event("batches", f"{consequence}{packing}. The reason is the architecture, {architecture}: {choice.reason}")
