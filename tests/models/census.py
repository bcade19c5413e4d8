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
from typing import Any

import torch

from models.loading.refs import ModelLoadError
from models.serving.engine import PAGED, Sampling
from models.serving.in_process.choosing import start_engine
from tests.models import architectures
from tests.processes import LIMIT_SECONDS

PAGE = Path(__file__).parents[2] / "docs/models.md"

TOKENS = 20
PROMPT_LENGTHS = (4, 18, 18, 41)
"""Two of one length. Windows and the border of longrope are within the longer ones and their completions."""

HEAD = """# Models

What Pagewright does with each causal architecture of transformers {version}, found out with tiny random models:
`python -m tests.models.census` writes this page, and `make test-long` compares each with transformers.

- **paged**: continuous batching. **plain**: transformers' own `generate`, in batches of prompts of one length; slower
  and as exact. A model with a column of plain works as it is; `GET /v1/models/{{id}}` says so in `engine`.
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
        sampling = Sampling(max_new_tokens=TOKENS)
        alone = engine.submit(prompts()[1], sampling).future.result(LIMIT_SECONDS).text
        requests = [engine.submit(prompt, sampling) for prompt in prompts()]
        texts = [request.future.result(LIMIT_SECONDS).text for request in requests]
    finally:
        engine.close()
    reference = expected(*architectures.make(name))
    assert texts == reference, f"{name} among neighbours"
    assert alone == reference[1], f"{name} alone"
    return ("paged" if engine.name == PAGED else "plain"), engine.reason or ""


COLUMNS: dict[str, Callable[[str], tuple[str, str]]] = {"served": served}
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


def _short(reason: str) -> str:
    """Return the reason without figures that differ between machines, and without what would end a cell."""
    return re.sub(r": they differ by .*", "", reason).replace("|", "/")


if __name__ == "__main__":
    PAGE.write_text(table())
