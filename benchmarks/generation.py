"""Measure tokens per second: the whole server, the engine alone, static batches, and one prompt at a time.

    python -m benchmarks.generation                 # 200 held-out prompts of the starter model, greedy
    python -m benchmarks.generation --llama2-7b     # random weights in the shape of Llama-2-7B, bfloat16, on a GPU

Tokens are completion tokens, including end tokens. All rows of the table are measured in one run.
"""

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, cast

import torch
import typer
from rich.console import Console
from rich.table import Table

import models.starter
from models.loading.loader import default_device, load
from models.loading.refs import ModelRef, Source
from models.prompts.templates import build_prompt
from models.serving.engine import Sampling
from models.serving.in_process.engine import InProcessEngine
from models.serving.in_process.limits import EngineLimits

STARTER = ModelRef(Source.BUNDLED, "starter")
PROMPTS = 200
STATIC_BATCH = 32


@dataclass
class Row:
    name: str
    tokens: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def main(
    llama2_7b: Annotated[bool, typer.Option("--llama2-7b")] = False,
    server: Annotated[bool, typer.Option(help="Measure the whole server too.")] = True,
) -> None:
    print_rows(*(_llama2_7b() if llama2_7b else _starter(server)))


def print_rows(title: str, rows: Sequence[Row]) -> None:
    table = Table(title=title)
    for column in ("", "tokens", "seconds", "tokens/s", "relative to one by one"):
        table.add_column(column, justify="left" if not column else "right")
    for row in rows:
        ratio = row.rate / rows[0].rate
        table.add_row(row.name, str(row.tokens), f"{row.seconds:.2f}", f"{row.rate:.0f}", f"{ratio:.2f}")
    Console(width=110).print(table)


def timed(name: str, work: Callable[[], int]) -> Row:
    """Measure `work`, which returns the number of generated tokens."""
    start = time.perf_counter()
    tokens = work()
    return Row(name, tokens, time.perf_counter() - start)


def _starter(server: bool) -> tuple[str, list[Row]]:
    file = models.starter.HELD_OUT
    examples = [json.loads(line) for line in file.read_text().splitlines()][:PROMPTS]
    prompts = [build_prompt(example["instruction"], example["input"]) for example in examples]
    model, tokenizer = load(STARTER)
    tokenizer.padding_side = "left"
    few, some = (
        prompts[::5],
        prompts[: 2 * STATIC_BATCH],
    )  # fewer prompts for slow peers
    rows = [
        timed(f"one generate call per prompt, {len(few)} of them", lambda: _generate(model, tokenizer, few, 1)),
        timed(
            f"static batches of {STATIC_BATCH}, {len(some)} of them",
            lambda: _generate(model, tokenizer, some, STATIC_BATCH),
        ),
    ]
    engine = InProcessEngine(model, tokenizer)
    _through_engine(engine, prompts[:4], Sampling())  # warm-up
    rows.append(timed("engine", lambda: _through_engine(engine, prompts, Sampling())))
    engine.close()
    if server:
        rows.append(_through_server(examples))
    return f"{PROMPTS} held-out prompts of the starter model, greedy, {default_device()}", rows


def _generate(model: Any, tokenizer: Any, prompts: Sequence[str], size: int) -> int:
    tokens = 0
    for start in range(0, len(prompts), size):
        inputs = tokenizer(prompts[start : start + size], return_tensors="pt", padding=True).to(model.device)
        with torch.inference_mode():
            outputs = model.generate(**inputs, do_sample=False, max_length=2048, pad_token_id=tokenizer.pad_token_id)
        completions = outputs[:, inputs["input_ids"].shape[1] :]
        tokens += int((completions != tokenizer.pad_token_id).sum())
    return tokens


def _through_engine(engine: InProcessEngine, prompts: Sequence[str], sampling: Sampling) -> int:
    requests = [engine.submit(prompt, sampling) for prompt in prompts]
    return sum(request.future.result().completion_tokens for request in requests)


def _through_server(examples: Sequence[dict[str, str]]) -> Row:
    """Measure what a client of `pagewright up` waits for: one batch submission, and polls until all jobs are done."""
    import tempfile

    from pagewright.cli.local_server import running_server

    with tempfile.TemporaryDirectory() as directory, running_server(directory) as client:
        items = [
            {"model": "starter", "prompt": example["instruction"], "input": example["input"]} for example in examples
        ]
        warm = client.post("/v1/generations", json=items[0], headers={"Prefer": "wait=60"})
        warm.raise_for_status()
        start = time.perf_counter()
        batch = client.post("/v1/generations/batch", json={"items": items})
        batch.raise_for_status()
        while (counts := client.get(batch.headers["Location"]).json()["counts"])["succeeded"] < len(items):
            if counts["failed"]:
                raise SystemExit(f"generations failed: {counts}")
            time.sleep(0.05)
        seconds = time.perf_counter() - start
        tokens, after = 0, None
        while True:
            parameters = {"batch_id": batch.json()["id"], "limit": 100, **({"after": after} if after else {})}
            page = client.get("/v1/generations", params=parameters).json()
            tokens += sum(job["completion_tokens"] for job in page["items"])
            after = page["next"]
            if after is None:
                return Row("whole server, over HTTP", tokens, seconds)


class NumberTokenizer:
    """A tokenizer whose texts are token ids in decimal. The weights are random, so texts don't matter."""

    eos_token_id = None

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [int(number) for number in text.split()]}

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        return " ".join(map(str, tokens))


def _llama2_7b() -> tuple[str, list[Row]]:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(max_position_embeddings=4096)  # the defaults have Llama-2-7B's shape
    with torch.device("cuda"):
        model = cast(Any, LlamaForCausalLM(config)).to(torch.bfloat16).eval()
    model.generation_config.eos_token_id = None
    generator = random.Random(1)
    # around the means of the original experiment's 528 rows: 55 prompt tokens and 134 completion tokens
    lengths = [(generator.randint(10, 100), generator.randint(34, 234)) for _ in range(528)]
    prompts = [" ".join(str(generator.randrange(3, 32000)) for _ in range(prompt)) for prompt, _ in lengths]

    def one_by_one(count: int) -> int:
        for prompt, (_, tokens) in zip(prompts[:count], lengths, strict=False):
            ids = torch.tensor([[int(number) for number in prompt.split()]], device="cuda")
            with torch.inference_mode():
                model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False)
        return sum(tokens for _, tokens in lengths[:count])

    def static(count: int) -> int:
        longest = max(prompt for prompt, _ in lengths[:count])
        ids = torch.full((count, longest), 3, device="cuda")
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts[:count]):
            numbers = torch.tensor([int(number) for number in prompt.split()], device="cuda")
            ids[row, -len(numbers) :], mask[row, -len(numbers) :] = numbers, 1
        with torch.inference_mode():
            # A static batch runs until its longest row is done. Only the requested tokens count.
            most = max(tokens for _, tokens in lengths[:count])
            model.generate(ids, attention_mask=mask, max_new_tokens=most, do_sample=False, pad_token_id=0)
        return sum(tokens for _, tokens in lengths[:count])

    one_by_one(1)
    rows = [timed("one generate call per prompt, 4 prompts", lambda: one_by_one(4))]
    rows.append(timed("a static batch of 132", lambda: static(132)))
    tokenizer: Any = NumberTokenizer()
    engine = InProcessEngine(model, tokenizer, EngineLimits.for_model(model, 40 * 2**30))

    def through_engine(count: int) -> int:
        requests = [
            engine.submit(prompt, Sampling(max_new_tokens=tokens))
            for prompt, (_, tokens) in zip(prompts[:count], lengths, strict=False)
        ]
        return sum(request.future.result().completion_tokens for request in requests)

    through_engine(8)
    for count in (1, 132, 528):
        rows.append(timed(f"engine, {count} requests", partial(through_engine, count)))
    engine.close()
    return f"Llama-2-7B shape, random weights, bfloat16, {torch.cuda.get_device_name()}", rows


if __name__ == "__main__":
    typer.run(main)
