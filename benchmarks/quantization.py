"""Measure memory and tokens per second of a Llama shape of 1 billion parameters: bfloat16, GPTQ and bitsandbytes.

    python -m benchmarks.quantization [--small]     # --small: the same with a tiny shape, to try it on a CPU

The weights are random, because the results do not depend on their values. Each variant is measured in a new process.
"weights" is the memory on the device after loading; "peak" is the peak during loading and generation, without the
engine's cache; "tokens/s" is for 32 completions of 128 tokens each in one batch.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer
from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM

import models.starter
from models.loading.loader import default_device, load
from models.loading.refs import ModelRef, Source
from models.quantization.gptq import quantize
from models.quantization.options import QuantizationOptions
from models.quantization.task import QuantizeTask
from models.serving.engine import Sampling
from models.serving.in_process.engine import InProcessEngine

REQUESTS, TOKENS = 32, 128
STARTER = models.starter.FOLDER


def main(
    small: Annotated[bool, typer.Option()] = False, measure: Annotated[str, typer.Option(hidden=True)] = ""
) -> None:
    if measure:
        print(json.dumps(_measured(ModelRef(**json.loads(measure)))))
        return
    with tempfile.TemporaryDirectory() as directory:
        original = _make(Path(directory) / "original", small)
        variants = {"bfloat16": original}
        quantized, note = _quantized(original, Path(directory))
        if quantized:
            variants["GPTQ, 4 bits"] = quantized
        variants |= {f"bitsandbytes, {bits} bits": replace(original, bitsandbytes=bits) for bits in (8, 4)}
        rows = {name: _in_process(ref) for name, ref in variants.items()}
    table = Table(title=f"{_device()}; {note}")
    for column in (
        "",
        "loaded in s",
        "weights, GiB",
        "peak, GiB",
        "relative to bfloat16",
        "tokens/s",
        "relative to bfloat16",
    ):
        table.add_column(column, justify="left" if not column else "right")
    first = rows["bfloat16"]
    for name, row in rows.items():
        if "error" in row:
            table.add_row(name, row["error"])
            continue
        memory, rate = (row[key] / first[key] for key in ("weights", "rate"))
        weights, peak = (f"{row[key] / 2**30:.2f}" for key in ("weights", "peak"))
        table.add_row(
            name, f"{row['seconds']:.1f}", weights, peak, f"{memory:.2f}", f"{row['rate']:.0f}", f"{rate:.2f}"
        )
    Console(width=110).print(table)


def _make(folder: Path, small: bool) -> ModelRef:
    """Save a model with random weights in the shape of Llama 3.2 1B, with a small vocabulary, and a tokenizer."""
    shape = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}
    if small:
        shape = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(**cast(Any, shape), num_key_value_heads=shape["num_attention_heads"] // 4)
    model = cast(Any, LlamaForCausalLM(config)).to(torch.bfloat16)
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(STARTER / name, folder)
    return ModelRef(Source.LOCAL, str(folder))


def _quantized(original: ModelRef, directory: Path) -> tuple[ModelRef | None, str]:
    text = (STARTER / "README.md").read_text()
    rows = [{"instruction": "Write.", "input": "", "output": text[start : start + 2000]} for start in range(64)]
    pq.write_table(pa.Table.from_pylist(rows), directory / "rows.parquet")
    task = QuantizeTask(
        work_folder=directory,
        model=original,
        calibration=directory / "rows.parquet",
        options=QuantizationOptions(samples=64),
    )
    start = time.perf_counter()
    try:
        quantize(task, lambda _: None, lambda: False)
    except Exception as error:  # without support for GPTQ on this machine, the table's title says so
        return None, f"GPTQ: {str(error).splitlines()[0]}"
    return ModelRef(Source.LOCAL, str(task.result_folder)), f"GPTQ took {time.perf_counter() - start:.0f} s"


def _in_process(ref: ModelRef) -> dict[str, Any]:
    fields = {"source": ref.source, "location": ref.location, "bitsandbytes": ref.bitsandbytes}
    command = [sys.executable, "-m", "benchmarks.quantization", "--measure", json.dumps(fields)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        return {"error": process.stderr.strip().splitlines()[-1][:60]}
    result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return result


def _measured(ref: ModelRef) -> dict[str, float]:
    start = time.perf_counter()
    model, tokenizer = load(replace(ref, source=Source(ref.source)))
    seconds = time.perf_counter() - start
    on_gpu = model.device.type == "cuda"
    weights = torch.cuda.memory_allocated() if on_gpu else model.get_memory_footprint()
    engine = InProcessEngine(model, tokenizer)
    tokens = duration = 0.0
    for count in (2, REQUESTS):  # the first is the warm-up
        start = time.perf_counter()
        requests = [engine.submit(f"page {number}", Sampling(max_new_tokens=TOKENS)) for number in range(count)]
        tokens = sum(request.future.result().completion_tokens for request in requests)
        duration = time.perf_counter() - start
    engine.close()
    # the engine's cache takes the free memory of a GPU, and is not part of the model
    peak = torch.cuda.max_memory_allocated() - engine.cache_bytes if on_gpu else weights
    return {"seconds": seconds, "weights": weights, "peak": peak, "rate": tokens / duration}


def _device() -> str:
    return torch.cuda.get_device_name() if default_device() == "cuda" else "CPU"


if __name__ == "__main__":
    typer.run(main)
