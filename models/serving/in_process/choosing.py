"""Chooses how a model is served: by continuous batching if that computes what the model computes, else by `generate`.

transformers' continuous batching does not know which models it supports. Attention that keeps its own cache ignores the
paged one, some models mask or cap scores in their own way, and others raise an error. So before an engine serves, the
batcher runs a short batch of different lengths, prompts and a few steps from the cache, and its logits are compared
with plain forward passes of each text alone.
"""

import gc
import logging
import random
import threading
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.loading import bits_and_bytes, first_run
from models.loading.description import SCALED_BY_BATCH
from models.loading.properties import WINDOWS, config_values, context_length, rope_parameters
from models.loading.refs import ModelLoadError
from models.serving.engine import Sampling
from models.serving.in_process.base import Progress, TransformersEngine, Work
from models.serving.in_process.batching import Batcher
from models.serving.in_process.engine import InProcessEngine
from models.serving.in_process.limits import EngineLimits
from models.serving.in_process.plain import PlainEngine

logger = logging.getLogger(__name__)

LENGTHS = (5, 23, 41)
"""Tokens of the prompts that are compared."""

STEPS = 4
"""Tokens that are generated for each."""

OPERATIONS = {"cpu": 2e12, "cuda": 2e14}
"""How much the comparison of a model with a long window may compute: about half a second of a GPU, some of a CPU."""


def start_engine(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, limits: EngineLimits | None = None
) -> TransformersEngine:
    """Start the fastest engine that is right for the model. Its `reason` says why it is not the fastest there is.

    Raises ModelLoadError if no engine can run the model, and ValueError if the limits leave no room for a request.
    """
    limits = limits or EngineLimits.for_model(model)
    reason = reason_against_paging(model, limits)
    if reason is None:
        return InProcessEngine(model, tokenizer, limits)
    try:
        one_by_one = not _rows_are_independent(model)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise ModelLoadError(
            f"{architecture(model)} can't generate text here: {first_run.reason(error)}. It is served neither by "
            f"continuous batching ({reason}) nor by transformers' `generate`: use a model of another architecture"
        ) from error
    return PlainEngine(model, tokenizer, limits, reason, one_by_one=one_by_one)


def architecture(model: PreTrainedModel) -> str:
    """Return the name of the model's class, as its configuration and the library's documentation have it."""
    return type(model).__name__


def reason_against_paging(model: PreTrainedModel, limits: EngineLimits) -> str | None:
    """Return why continuous batching must not serve the model, in one sentence without an end mark, or None."""
    context = limits.context_length or context_length(model.config)
    reason = _reason_in_configuration(model, context)
    if reason is not None:
        return reason
    try:
        difference = _largest_error(model, limits, context)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        return f"continuous batching can't run {architecture(model)}: {first_run.reason(error)}"
    if not difference <= tolerance(model):  # not-a-number is no agreement
        return (
            f"continuous batching computes other logits than {architecture(model)} alone: they differ by "
            f"{difference:.1%} of their spread"
        )
    return None


def tolerance(model: PreTrainedModel) -> float:
    """Return how far logits may differ, as the root mean square relative to their standard deviation.

    Sums in another order differ by a few times the dtype's precision in every layer; wrong attention differs by far
    more than the largest of these (16 % in bfloat16, 2 % in float16, 0.01 % in float32). bitsandbytes' kernels round
    inputs to 8 bits whatever the dtype, LLM.int8() in another way for each batch: that is the precision of bfloat16.
    """
    rounded = any(True for _ in bits_and_bytes.states(model))
    return max(1e-4, 20 * torch.finfo(torch.bfloat16 if rounded else model.dtype).eps)


def _reason_in_configuration(model: PreTrainedModel, context: int) -> str | None:
    for rope in rope_parameters(model.config):
        if rope.get("rope_type") in SCALED_BY_BATCH:
            return f"with {rope['rope_type']} positions, the longest text of a batch would change the others"
    window = _window(model, context)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    longest = int(OPERATIONS.get(model.device.type, 0) / (4 * parameters))  # twice two operations per weight and token
    if window is not None and window + 2 * STEPS > max(longest, LENGTHS[2]):
        return (
            f"its attention window of {window:,} tokens can't be checked here in a short time, as the model is large "
            f"for this {model.device.type.upper().replace('CUDA', 'GPU')}"
        )
    return None


def _window(model: PreTrainedModel, context: int) -> int | None:
    """Return the largest number of tokens below the context's beyond which the model masks some, or None."""
    values = [value for name in WINDOWS for value in config_values(model.config, name)]
    return max((value for value in values if isinstance(value, int) and 0 < value < context), default=None)


def _largest_error(model: Any, limits: EngineLimits, context: int) -> float:
    """Return the largest of the requests' errors; a request's is the median over its tokens.

    With the median, one token that rounding sends to another expert of a mixture does not count.
    """
    window = _window(model, context)
    lengths = [*LENGTHS[:2], max(LENGTHS[2], (window or 0) + 2 * STEPS)]
    lengths = sorted({max(1, min(length, context - STEPS - 1)) for length in lengths})
    vocabulary = int(model.config.get_text_config().vocab_size)
    numbers = random.Random(0)
    prompts = {str(length): [numbers.randrange(vocabulary) for _ in range(length)] for length in lengths}
    implementation = model.config._attn_implementation
    try:
        generated, logits = _run_batch(model, limits, prompts)
    finally:
        if model.config._attn_implementation != implementation:
            model.set_attn_implementation(implementation)
    errors = []
    for id, prompt in prompts.items():
        text = torch.tensor([prompt + generated[id][:-1]], device=model.device)
        with torch.inference_mode():
            plain = model(text, use_cache=False).logits[0, len(prompt) - 1 :].float()
        errors.append(float(_error(torch.stack(logits[id]), plain).median()))
    return max(errors)


def _run_batch(
    model: Any, limits: EngineLimits, prompts: dict[str, list[int]]
) -> tuple[dict[str, list[int]], dict[str, list[torch.Tensor]]]:
    """Return the tokens and the logits that continuous batching computes for prompts that start together."""
    generated: dict[str, list[int]] = {}
    logits: dict[str, list[torch.Tensor]] = {id: [] for id in prompts}
    failed: list[str] = []
    running = set(prompts)
    ended = threading.Event()

    def receive(progress: Progress) -> None:
        generated[progress.request_id] = list(progress.tokens)
        if progress.error is not None:
            failed.append(progress.error)
        if progress.finished or progress.error is not None:
            running.discard(progress.request_id)
        if not running:
            ended.set()

    def watch(ids: list[str], scores: torch.Tensor) -> None:
        for id, row in zip(ids, scores, strict=False):
            logits[id].append(row.clone())

    page = limits.page_size if model.device.type == "cuda" else 32
    pages = sum(-(-(len(prompt) + STEPS) // page) + 2 for prompt in prompts.values())
    small = EngineLimits(pages * page, page, limits.max_batch_tokens, max(len(prompts), 2))
    batcher = Batcher(model, small, receive, ended.set, watch)
    if any(config_values(model.config, "attn_logit_softcapping")) and "flash" not in model.config._attn_implementation:
        # In short random texts the cap may change too little to be seen.
        raise NotImplementedError("the attention for packed batches on this device does not cap scores")
    for id, prompt in prompts.items():
        batcher.submit(Work(id, prompt, STEPS, [], Sampling(), 0))
    gc.freeze()  # Stopping collects garbage twice, which took half of the comparison's time with all these libraries.
    try:
        batcher.start()
        ended.wait()
        if batcher.is_running():
            batcher.stop(hard_stop=True)
    finally:
        gc.unfreeze()
    if failed:
        raise RuntimeError(failed[0])
    if any(len(logits[id]) != STEPS or len(generated.get(id, ())) != STEPS for id in prompts):
        raise RuntimeError("requests ended early")
    return generated, logits


def _error(logits: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Return the root mean square difference of each row relative to the standard deviation of `expected`, [rows]."""
    finite = expected.isfinite()
    difference = torch.where(finite, logits - expected, 0.0).square().mean(-1).sqrt()
    spread = torch.where(finite, expected, 0.0).std(-1)
    return difference / spread.clamp(min=1e-6)


def _rows_are_independent(model: Any) -> bool:
    """Return whether `generate` computes the same for a text alone as in a batch with another of its length."""
    vocabulary = int(model.config.get_text_config().vocab_size)
    numbers = random.Random(1)
    texts = torch.tensor([[numbers.randrange(vocabulary) for _ in range(LENGTHS[1])] for _ in range(2)])
    together, alone = (_first_logits(model, rows.to(model.device)) for rows in (texts, texts[:1]))
    return bool((_error(together, alone) <= tolerance(model)).all())


def _first_logits(model: Any, texts: torch.Tensor) -> torch.Tensor:
    """Return the logits of two tokens after a batch's first text, [2, vocabulary]; the second come from the cache."""
    with torch.inference_mode():
        output = model.generate(
            texts,
            attention_mask=torch.ones_like(texts),
            do_sample=False,
            max_new_tokens=2,
            min_new_tokens=2,
            output_logits=True,
            return_dict_in_generate=True,
        )
    return torch.cat([step[:1].float() for step in output.logits])
