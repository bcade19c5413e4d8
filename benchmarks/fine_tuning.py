"""Measure tokens per second of LoRA training: Pagewright's loop, and transformers' Trainer in its usual setups.

    python -m benchmarks.fine_tuning                 # the starter model
    python -m benchmarks.fine_tuning --llama2-7b     # the shape of Llama-2-7B, random weights, bfloat16, on a GPU

The peers are the original experiment's recipe (Trainer, padded batches of 2, 4 accumulation steps,
DataCollatorForLanguageModeling, gradient checkpointing on a GPU) and dense blocks (examples are concatenated without
regard to their boundaries, so that nothing is padded). All use the same adapter and the same rows. Padding does not
count as tokens. Each loop is measured in a new process after warm-up steps. Memory is the peak of the GPU, or of the
process on the CPU.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.data.data_collator import DataCollatorForLanguageModeling, default_data_collator
from transformers.trainer_callback import PrinterCallback

import models.starter
from models.fine_tuning.adapter import add_adapter
from models.fine_tuning.check import choose_way
from models.fine_tuning.examples import Example, encode, pack
from models.fine_tuning.options import LoraOptions, TrainingOptions
from models.fine_tuning.trainer import make_trainer
from models.loading.loader import load
from models.loading.refs import ModelRef, Source
from models.prompts.chat import Prompter
from models.prompts.rows import Row

WARM_UP = 2
STEPS = 6
"""Number of optimizer steps that are measured after the warm-up."""


def main(
    llama2_7b: Annotated[bool, typer.Option("--llama2-7b")] = False,
    loop: Annotated[str | None, typer.Option(help="Measure only this loop, in this process.")] = None,
) -> None:
    if loop:
        print(json.dumps(LOOPS[loop](llama2_7b)))
        return
    table = Table(title="Llama-2-7B shape, bfloat16" if llama2_7b else "The starter model, float32")
    for column in ("", "tokens/s", "relative to the original recipe", "relative to dense blocks", "peak memory, GiB"):
        table.add_column(column, justify="left" if not column else "right")
    measured = {name: _in_process(name, llama2_7b) for name in LOOPS}
    original, dense = (measured[name]["rate"] for name in ("original recipe", "dense blocks"))
    for name, row in measured.items():
        rate = row["rate"]
        table.add_row(name, f"{rate:.0f}", f"{rate / original:.2f}", f"{rate / dense:.2f}", f"{row['memory']:.1f}")
    Console(width=110).print(table)


def _in_process(loop: str, llama2_7b: bool) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.fine_tuning", "--loop", loop, *["--llama2-7b"] * llama2_7b]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return row


def _model(llama2_7b: bool) -> tuple[Any, int]:
    """Return the model with its adapter, and the number of tokens of a full packed row."""
    set_seed(1)
    if llama2_7b:
        torch.set_default_dtype(torch.bfloat16)
        with torch.device("cuda"):
            model: Any = LlamaForCausalLM(LlamaConfig(max_position_embeddings=4096))  # Llama-2-7B's shape by default
        torch.set_default_dtype(torch.float32)
        return add_adapter(model, LoraOptions()), 4096
    return add_adapter(load(ModelRef(Source.BUNDLED, "starter"), "cpu")[0], LoraOptions()), 2048


def _examples(llama2_7b: bool) -> list[Example]:
    if llama2_7b:
        generator = random.Random(1)
        # around the means of the original experiment's 528 rows: 55 prompt tokens and 134 completion tokens
        lengths = [(generator.randint(10, 100), generator.randint(34, 234)) for _ in range(2112)]
        return [
            Example(
                np.array([generator.randrange(3, 32000) for _ in range(prompt + completion)], np.int32),
                np.arange(prompt + completion) >= prompt,
            )
            for prompt, completion in lengths
        ]
    prompter = Prompter(load(ModelRef(Source.BUNDLED, "starter"), "cpu")[1])
    file = models.starter.HELD_OUT
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    random.Random(1).shuffle(rows)
    read = (Row(row["instruction"], row["input"], row["output"]) for row in rows)
    return [example for row in read for example in encode(row, prompter)]


class _Clock(TrainerCallback):
    """Measures the time from the end of the warm-up to the last step."""

    def __init__(self) -> None:
        self.tokens = 0
        self.started = self.ended = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step in (WARM_UP, WARM_UP + STEPS):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            moment = time.perf_counter()
            if state.global_step == WARM_UP:
                self.started, self.tokens = moment, 0
            else:
                self.ended = moment


def _measure(trainer: Trainer, count: Callable[[dict[str, Any]], int]) -> dict[str, float]:
    clock = _Clock()
    trainer.add_callback(clock)
    trainer.remove_callback(PrinterCallback)
    step = trainer.training_step

    def counted(model: Any, inputs: dict[str, Any], *more: Any) -> torch.Tensor:
        clock.tokens += count(inputs)
        return step(model, inputs, *more)

    trainer.training_step = counted  # type: ignore[assignment, method-assign]  # counts the tokens
    trainer.train()
    on_gpu = torch.cuda.is_available()
    peak = torch.cuda.max_memory_allocated() if on_gpu else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"rate": clock.tokens / (clock.ended - clock.started), "memory": peak / 2**30}


def _pagewright(llama2_7b: bool, options: dict[str, Any], packing: bool) -> dict[str, float]:
    model, full = _model(llama2_7b)
    examples = _examples(llama2_7b)
    rows = pack(examples, full) if packing else [[example] for example in examples]
    with tempfile.TemporaryDirectory() as folder:
        training = TrainingOptions(max_steps=WARM_UP + STEPS, save_steps=None, packing=packing, **options)
        way = choose_way(model.base_model.model, examples).way
        trainer = make_trainer(model, rows, [], training, way, Path(folder), fp16=False, bf16=llama2_7b)
        return _measure(trainer, lambda batch: batch["input_ids"].numel())


def _peer(llama2_7b: bool, data: list[dict[str, Any]], collator: Any, **arguments: Any) -> dict[str, float]:
    model, _ = _model(llama2_7b)
    if arguments.pop("checkpointing", False):
        model.enable_input_require_grads()
        model.base_model.model.activation_checkpointing_enable({"use_reentrant": False})
    with tempfile.TemporaryDirectory() as folder:
        training = TrainingArguments(
            output_dir=folder,
            max_steps=WARM_UP + STEPS,
            learning_rate=2e-4,
            bf16=llama2_7b,
            use_cpu=not llama2_7b,
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            report_to="none",
            **arguments,
        )
        trainer = Trainer(model=model, args=training, train_dataset=cast(Any, data), data_collator=collator)
        return _measure(trainer, lambda batch: int((batch["labels"] != -100).sum()))


def _original(llama2_7b: bool) -> dict[str, float]:
    _, tokenizer = load(ModelRef(Source.BUNDLED, "starter"), "cpu")  # the collator uses its padding only
    data = [{"input_ids": example.tokens.tolist()} for example in _examples(llama2_7b)]
    return _peer(
        llama2_7b,
        data,
        DataCollatorForLanguageModeling(tokenizer, mlm=False),
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        remove_unused_columns=False,
        checkpointing=llama2_7b,
    )


def _dense(llama2_7b: bool) -> dict[str, float]:
    size = 4096 if llama2_7b else 2048
    tokens = np.concatenate([example.tokens for example in _examples(llama2_7b)])
    blocks = tokens[: len(tokens) // size * size].reshape(-1, size).tolist()
    data = [{"input_ids": block, "labels": block} for block in blocks]
    return _peer(llama2_7b, data, default_data_collator, per_device_train_batch_size=1, gradient_accumulation_steps=2)


ONE_ROW = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}
LOOPS: dict[str, Callable[[bool], dict[str, float]]] = {
    "original recipe": _original,
    "dense blocks": _dense,
    "Pagewright, the original recipe": lambda llama2_7b: _pagewright(llama2_7b, {}, packing=False),
    "Pagewright, packed": lambda llama2_7b: _pagewright(llama2_7b, ONE_ROW, packing=True),
}


if __name__ == "__main__":
    typer.run(main)
