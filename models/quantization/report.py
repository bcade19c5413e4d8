"""What each variant of a model costs and what it is worth: memory, speed, and how near its answers are."""

import gc
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.fine_tuning.examples import collate, encode
from models.loading.adapters import tensor_bytes
from models.loading.loader import describe, load
from models.loading.properties import context_length, eos_token_ids
from models.loading.refs import ModelRef
from models.prompts.rows import Row
from models.prompts.template import build_prompt
from models.quantization.layers import find_layers
from models.quantization.options import QuantizationOptions, Stopped
from models.quantization.rounding import round_to_nearest
from models.scoring.chrf import corpus_score
from models.scoring.metrics import exact_match
from models.serving.engine import Completion, RequestError, Sampling
from models.serving.in_process.engine import InProcessEngine
from models.tasks.reports import VariantMeasured

log = logging.getLogger(__name__)

ORIGINAL = "original"
GPTQ = "gptq"
ROUND_TO_NEAREST = "round-to-nearest"
BITSANDBYTES_8 = "bitsandbytes-8"
BITSANDBYTES_4 = "bitsandbytes-4"

_TICK_SECONDS = 0.2


@dataclass(frozen=True)
class Variant:
    """A way to have a model in memory. `seconds` went by before it could be loaded.

    With `rounding` the weights are rounded as the options say, in memory alone: only what they answer counts, not what
    they take.
    """

    name: str
    ref: ModelRef
    seconds: float = 0.0
    rounding: QuantizationOptions | None = None


def measure_variants(
    original: ModelRef,
    quantized: ModelRef,
    options: QuantizationOptions,
    rows: Sequence[Row],
    quantize_seconds: float,
    should_stop: Callable[[], bool],
    share_before: float = 0.0,
) -> Iterator[VariantMeasured]:
    """The model as it is, as it was quantized, rounded to nearest by the same options, and by bitsandbytes.

    Each is in memory alone, on the default device in its default dtype. One that can't be loaded or run says why in
    its `error`. Raises Stopped soon after `should_stop` says so. `share_before` (0 to 1) is the part of the task that
    was done before, for `percent_done`.
    """
    variants = [
        Variant(ORIGINAL, original),
        Variant(GPTQ, quantized, quantize_seconds),
        Variant(ROUND_TO_NEAREST, original, rounding=options),
        Variant(BITSANDBYTES_8, replace(original, bitsandbytes=8)),
        Variant(BITSANDBYTES_4, replace(original, bitsandbytes=4)),
    ]
    for done, variant in enumerate(variants, start=1):
        percent_done = 100 * (share_before + (1 - share_before) * done / len(variants))
        try:
            measured = measure(variant, rows, should_stop)
        except Stopped:
            raise
        except Exception as error:  # whatever it is, the other variants are still worth measuring
            log.exception("%s could not be measured", variant.name)
            measured = _not_measured(variant.name, error)
        yield replace(measured, percent_done=percent_done)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def measure(variant: Variant, rows: Sequence[Row], should_stop: Callable[[], bool]) -> VariantMeasured:
    """Load a variant and measure it on the rows, which count as VariantMeasured says.

    Raises what loading or running it does, and Stopped.
    """
    start = time.monotonic()
    model, tokenizer = load(variant.ref)
    if variant.rounding:
        round_to_nearest(find_layers(model).modules, variant.rounding)
    seconds = variant.seconds + time.monotonic() - start
    memory_bytes = tensor_bytes(model)
    loss = mean_loss(model, tokenizer, rows, should_stop)
    measured = VariantMeasured(
        variant=variant.name,
        disk_bytes=describe(variant.ref).weight_bytes,
        memory_bytes=memory_bytes,
        perplexity=None if loss is None else _perplexity(loss),
        exact_match=None,
        chrf=None,
        rows=len(rows),
        tokens_per_second=None,
        seconds=seconds,
        percent_done=100.0,
    )
    if variant.rounding:
        return replace(measured, disk_bytes=None, memory_bytes=None)
    answers, tokens_per_second = complete(model, tokenizer, rows, should_stop)
    references = [row.output for row in rows]
    matches = sum(exact_match(answer, reference) for answer, reference in zip(answers, references, strict=True))
    return replace(
        measured,
        exact_match=matches / len(rows) if rows else None,
        chrf=corpus_score(answers, references) if rows else None,
        tokens_per_second=tokens_per_second,
    )


def mean_loss(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    should_stop: Callable[[], bool] = lambda: False,
) -> float | None:
    """The mean negative log-likelihood, in nats, of the completions' tokens and the token that ends them.

    As fine-tuning's loss counts it, with rows beyond the context left out. None if no row is left. Raises Stopped, and
    ValueError for a model that names no token that ends a text.
    """
    [eos, *_] = eos_token_ids(model, tokenizer)
    total, tokens = 0.0, 0
    for row in rows:
        if should_stop():
            raise Stopped
        example = encode(row, tokenizer, eos)
        if len(example) > context_length(model.config):
            continue
        batch = collate([[example]])
        with torch.inference_mode():
            logits = model(
                input_ids=batch["input_ids"].to(model.device), logits_to_keep=batch["logits_to_keep"].to(model.device)
            ).logits
        wanted = batch["shift_labels"].to(logits.device)
        total += float(cross_entropy(logits[0].float(), wanted[0], reduction="sum"))
        tokens += wanted.numel()
    return total / tokens if tokens else None


def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[list[str], float | None]:
    """Greedy completions of the rows, all in the engine's batch, and the tokens that came per second of it.

    Each has at most the tokens of the longest reference. One whose prompt leaves no room in the context is empty.
    Raises EngineFailed and Stopped.
    """
    engine = InProcessEngine(model, tokenizer)
    try:
        longest = 1 + max(engine.count_tokens([row.output for row in rows]), default=0)
        prompts = [build_prompt(row.instruction, row.input) for row in rows]
        rooms = [engine.context_length - tokens for tokens in engine.count_tokens(prompts, special=True)]
        start = time.monotonic()
        futures: list[Future[Completion] | None] = []
        for prompt, room in zip(prompts, rooms, strict=True):
            try:
                sampling = Sampling(max_new_tokens=max(1, min(longest, room)))
                futures.append(engine.submit(prompt, sampling).future)
            except RequestError:
                futures.append(None)
        running = {future for future in futures if future}
        while running:
            if should_stop():
                raise Stopped
            running = wait(running, timeout=_TICK_SECONDS).not_done
        seconds = time.monotonic() - start
        completions = [future.result() if future else None for future in futures]
    finally:
        engine.close()
    tokens = sum(completion.completion_tokens for completion in completions if completion)
    return [completion.text if completion else "" for completion in completions], tokens / seconds if tokens else None


def _perplexity(loss: float) -> float | None:
    """e to the loss; None beyond what JSON can carry."""
    return math.exp(loss) if loss < 700 else None


def _not_measured(name: str, error: Exception) -> VariantMeasured:
    return VariantMeasured(
        variant=name,
        disk_bytes=None,
        memory_bytes=None,
        perplexity=None,
        exact_match=None,
        chrf=None,
        rows=0,
        tokens_per_second=None,
        seconds=None,
        percent_done=100.0,
        error=str(error) or type(error).__name__,
    )
