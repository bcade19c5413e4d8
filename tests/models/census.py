"""Writes docs/models.md: what Pagewright can do with each architecture, found out with tiny random models.

    python -m tests.models.census

A column is a function from the name of an architecture to a word and a reason. It raises AssertionError where the
result is wrong: then there is nothing to write down.
"""

import random
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from models.loading.loader import load
from models.loading.refs import ModelLoadError, ModelRef, Source
from models.quantization.errors import QuantizationError
from models.quantization.gptq import quantize
from models.quantization.options import QuantizationOptions
from models.quantization.task import QuantizeTask
from models.serving.engine import PAGED, Engine, Sampling
from models.serving.in_process.choosing import start_engine
from models.tasks.reports import Event, QuantizedModule, Report
from tests.models import architectures
from tests.models.fine_tuning.census import trained
from tests.processes import LIMIT_SECONDS

PAGE = Path(__file__).parents[2] / "docs/models.md"

TOKENS = 20
PROMPT_LENGTHS = (4, 18, 18, 41)
"""Two of one length. Windows and the border of longrope are within the longer ones and their completions."""

LARGEST_ERROR = 0.05
"""The largest relative error of a layer in 4 bits. GPTQ of the right inputs has a hundredth or less."""

HEAD = """# Models

What Pagewright does with each causal architecture of transformers {version}, found out with tiny random models:
`python -m tests.models.census` writes this page, and `make test-long` compares each with transformers.

- **paged**: continuous batching. **plain**: transformers' own `generate`, in batches of prompts of one length; slower
  and as exact. A model with a column of plain works as it is; `GET /v1/models/{{id}}` says so in `engine`.
- **GPTQ**: whether a quantization makes a 4-bit model of it, which is served right. What is not quantized is named.
- **packed**, **padded**, **one row at a time**: how the rows of a fine-tune share a batch. The losses are the same;
  packed rows are the fastest. The event `batches` of a fine-tune says which and why.
- **refused**: jobs fail at the first attempt, and the error says why.
- **not tried**: no tiny model is made of it.

The engine is chosen when a model is loaded, by comparing its logits, so a model that is not in this table is safe, too.
On a GPU with flash attention, some models that are `plain` here are served `paged`.

"""


def prompts() -> list[list[int]]:
    """Return the token ids of prompts of different lengths."""
    numbers = random.Random(3)
    letters = range(architectures.UNKNOWN + 1, architectures.VOCABULARY)
    return [[architectures.BOS, *numbers.choices(letters, k=length - 1)] for length in PROMPT_LENGTHS]


def expected(model: Any, tokenizer: Any) -> list[str]:
    """Return what transformers' `generate` completes each prompt with, alone and greedily."""
    texts = []
    for prompt in prompts():
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=TOKENS)
        texts.append(tokenizer.decode(output[0, len(prompt) :], skip_special_tokens=True))
    return texts


@cache
def served(name: str) -> tuple[str, str]:
    """Return how an architecture is served, and why not faster.

    Raises AssertionError if the engine's text, alone or among neighbours, is not that of `generate`.
    """
    model, tokenizer = architectures.make(name)
    try:
        engine = start_engine(model, tokenizer)
    except ModelLoadError as error:
        return "refused", str(error)
    try:
        alone = completed(engine, prompts()[1:2])
        texts = completed(engine, prompts())
    finally:
        engine.close()
    reference = expected(*architectures.make(name))
    assert texts == reference, f"{name} among neighbours"
    assert alone == reference[1:2], f"{name} alone"
    return ("paged" if engine.name == PAGED else "plain"), engine.reason or ""


def completed(engine: Engine, texts: list[list[int]]) -> list[str]:
    """Return the engine's greedy completions of prompts that it gets at once."""
    requests = [engine.submit(prompt, Sampling(max_new_tokens=TOKENS)) for prompt in texts]
    return [request.future.result(LIMIT_SECONDS).text for request in requests]


def save(name: str, folder: Path) -> ModelRef:
    """Write an architecture's tiny model and its tokenizer to a folder."""
    for part in architectures.make(name):
        part.save_pretrained(folder)
    return ModelRef(Source.LOCAL, str(folder))


def calibration(folder: Path) -> Path:
    """Write a Parquet file of rows of random letters to a folder."""
    numbers = random.Random(5)
    tokenizer = architectures.tokenizer()
    letters = [str(tokenizer.decode([token])) for token in range(architectures.UNKNOWN + 1, architectures.VOCABULARY)]
    rows = ["".join(numbers.choices(letters, k=60)) for _ in range(16)]
    pq.write_table(pa.table({"instruction": rows, "input": [""] * len(rows), "output": rows[::-1]}), folder / "rows")
    return folder / "rows"


@cache
def quantized(name: str) -> tuple[str, str]:
    """Return whether GPTQ quantizes an architecture, and what it leaves as it is.

    Raises AssertionError if the error of a layer is too large, or if the text that the engine completes with the
    quantized model is not that of its own `generate`.
    """
    with TemporaryDirectory() as temporary:
        work = Path(temporary)
        options = QuantizationOptions(group_size=32, samples=16)
        original, rows = save(name, work / "model"), calibration(work)
        task = QuantizeTask(model=original, calibration=rows, options=options, work_folder=work)
        reports: list[Report] = []
        try:
            load(original, "cpu")
        except ModelLoadError as error:
            return "not tried", f"the tiny model can't be saved and loaded: {error}".splitlines()[0]
        try:
            quantize(task, reports.append, lambda: False)
        except (QuantizationError, ModelLoadError) as error:
            return "refused", str(error)
        errors = [report.relative_error for report in reports if isinstance(report, QuantizedModule)]
        # No token reaches what only an encoder's outputs would, such as BART's `encoder_attn`.
        assert all(error is None or error < LARGEST_ERROR for error in errors), f"{name}: {errors}"
        result = ModelRef(Source.LOCAL, str(task.result_folder))
        engine = start_engine(*load(result, "cpu"))
        try:
            texts = completed(engine, prompts())
        finally:
            engine.close()
        assert texts == expected(*load(result, "cpu")), name
    [left] = [report.message for report in reports if isinstance(report, Event)]
    _, _, kept = left.partition("and of the blocks ")
    return "yes", f"not quantized: {kept}" if kept else ""


COLUMNS: dict[str, Callable[[str], tuple[str, str]]] = {"served": served, "GPTQ": quantized, "LoRA": trained}
"""The columns of the table by their titles."""


def table() -> str:
    """Return docs/models.md."""
    import transformers

    titles = ["architecture", *COLUMNS, "why"]
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for name in sorted(architectures.NAMES):
        if name in architectures.NOT_MADE:
            lines.append(f"| {name} |" + " not tried |" * len(COLUMNS) + f" {architectures.NOT_MADE[name]} |")
            continue
        results = {title: column(name) for title, column in COLUMNS.items()}
        reasons = [f"{title}: {_short(reason)}" for title, (_, reason) in results.items() if reason]
        lines.append(" | ".join([f"| {name}", *(word for word, _ in results.values()), "; ".join(reasons)]) + " |")
    return HEAD.format(version=transformers.__version__) + "\n".join(lines) + "\n"


@cache
def written() -> dict[str, dict[str, str]]:
    """Return the words of docs/models.md by architecture and column."""
    lines = [line.split("|")[1:] for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    titles, *rows = [[cell.strip() for cell in cells] for cells in lines]
    return {cells[0]: dict(zip(titles[1:], cells[1:], strict=False)) for cells in rows}


def _short(reason: str) -> str:
    """Return the reason without figures that differ between machines, and without what would end a cell."""
    return re.sub(r": they differ by .*", "", reason).replace("|", "/")


if __name__ == "__main__":
    PAGE.write_text(table())
