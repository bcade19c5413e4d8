"""Measures the variants of a model: memory, speed, and the quality of their completions."""

import gc
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.fine_tuning.batching import Collator, Way, model_inputs, on_device, token_losses
from models.fine_tuning.examples import encode
from models.loading.adapters import tensor_bytes
from models.loading.loader import describe, load
from models.loading.properties import context_length, first_end
from models.loading.refs import ModelRef
from models.prompts.chat import Prompter
from models.prompts.extraction import extract_page, tokens_around_page
from models.prompts.rows import Row
from models.prompts.templates import PromptError, PromptOptions, default_extract
from models.quantization.errors import Stopped
from models.quantization.layers import find_layers
from models.quantization.options import QuantizationOptions
from models.quantization.rounding import round_to_nearest
from models.scoring.chrf import corpus_score
from models.scoring.metrics import exact_match
from models.serving.engine import Completion, RequestError, Sampling
from models.serving.in_process.choosing import start_engine
from models.tasks.reports import MeasuredVariant

log = logging.getLogger(__name__)

ORIGINAL = "original"
GPTQ = "gptq"
ROUND_TO_NEAREST = "round-to-nearest"
BITSANDBYTES_8 = "bitsandbytes-8"
BITSANDBYTES_4 = "bitsandbytes-4"

_TICK_SECONDS = 0.2
_MAX_LOSS = 700
"""exp() of a larger loss is infinite as a float."""


@dataclass(frozen=True)
class Variant:
    """A way to run a model. `seconds` is the time that was needed before the variant could be loaded.

    With `rounding`, the weights are rounded to nearest by these options after loading. That changes what the model
    answers, but not its size or speed, so only the perplexity is measured.
    """

    name: str
    ref: ModelRef
    seconds: float = 0.0
    rounding: QuantizationOptions | None = None


def measure_variants(
    original: ModelRef,
    quantized: ModelRef,
    options: QuantizationOptions,
    prompt: PromptOptions,
    rows: Sequence[Row],
    quantize_seconds: float,
    should_stop: Callable[[], bool],
    share_before: float = 0.0,
) -> Iterator[MeasuredVariant]:
    """Measure the original model, the quantized one, the original rounded to nearest, and bitsandbytes' 8 and 4 bits.

    One variant at a time is in memory, on the default device and in its default dtype. A variant that can't be loaded
    or run is reported with its `error`. `share_before` (0 to 1) is the share of the task that was done before, for
    `percent_done`. Raises Stopped if `should_stop` returns True.
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
            measured = measure(variant, prompt, rows, should_stop)
        except Stopped:
            raise
        except Exception as error:  # any error: the other variants are still worth measuring
            log.exception("the variant %s could not be measured", variant.name)
            measured = MeasuredVariant(variant.name, percent_done, error=str(error) or type(error).__name__)
        yield replace(measured, percent_done=percent_done)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def measure(
    variant: Variant, prompt: PromptOptions, rows: Sequence[Row], should_stop: Callable[[], bool]
) -> MeasuredVariant:
    """Load a variant and measure it on the rows.

    Raises Stopped, and the errors of loading and running the variant.
    """
    start = time.monotonic()
    model, tokenizer = load(variant.ref)
    if variant.rounding:
        round_to_nearest(find_layers(model).modules, variant.rounding)
    prompter = Prompter(tokenizer, prompt, first_end(model, tokenizer))
    seconds = variant.seconds + time.monotonic() - start
    memory_bytes = tensor_bytes(model)
    loss = mean_loss(model, prompter, rows, should_stop)
    measured = MeasuredVariant(
        variant.name,
        percent_done=100.0,
        rows=len(rows),
        perplexity=math.exp(loss) if loss is not None and loss < _MAX_LOSS else None,
        seconds=seconds,
    )
    if variant.rounding:
        return measured
    extract = default_extract(prompter.template.name)
    room = tokens_around_page(extract)
    completions, tokens_per_second = complete(model, tokenizer, prompter, rows, should_stop, room)
    texts = [extract_page(completion, extract) for completion in completions]
    references = [row.output for row in rows]
    matches = sum(exact_match(text, reference) for text, reference in zip(texts, references, strict=True))
    return replace(
        measured,
        disk_bytes=describe(variant.ref).weight_bytes,
        memory_bytes=memory_bytes,
        exact_match=matches / len(rows) if rows else None,
        chrf=corpus_score(texts, references) if rows else None,
        tokens_per_second=tokens_per_second,
    )


def mean_loss(
    model: PreTrainedModel,
    prompter: Prompter,
    rows: Sequence[Row],
    should_stop: Callable[[], bool] = lambda: False,
) -> float | None:
    """Return the mean negative log-likelihood, in nats, of the outputs' tokens and the end-of-sequence token.

    This is the loss of fine-tuning. Rows longer than the context are left out; None if no row is left. Raises Stopped
    and PromptError.
    """
    collator = Collator.for_model(model, Way.PADDED)
    total, tokens = 0.0, 0
    for row in rows:
        if should_stop():
            raise Stopped
        for example in encode(row, prompter):
            if len(example) > context_length(model.config):
                continue
            batch = on_device(collator([[example]]), model.device)
            with torch.inference_mode():
                losses = token_losses(model(**model_inputs(batch)).logits, batch["labels"])
            total += float(losses.sum())
            tokens += len(losses)
    return total / tokens if tokens else None


def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompter: Prompter,
    rows: Sequence[Row],
    should_stop: Callable[[], bool] = lambda: False,
    more_tokens: int = 0,
) -> tuple[list[str], float | None]:
    """Return greedy completions of the rows, and the throughput in tokens per second over all of them.

    A completion has at most as many tokens as the longest reference and `more_tokens` more. It is empty if the prompt
    text leaves no room in the context. Raises EngineFailed and Stopped.
    """
    engine = start_engine(model, tokenizer)
    try:
        longest = 1 + max(engine.count_tokens([row.output for row in rows]), default=0) + more_tokens
        start = time.monotonic()
        futures: list[Future[Completion] | None] = []
        for row in rows:
            try:
                prompt = prompter.prompt_of(row)
                room = engine.context_length - len(prompt)
                limit = max(1, min(longest, room))
                sampling = Sampling(max_new_tokens=limit, stop_token_ids=(prompter.turn_end,))
                futures.append(engine.submit(prompt, sampling).future)
            except (RequestError, PromptError):
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
