"""The engine for models that continuous batching computes wrongly or can't run: transformers' own `generate`.

The model's own masks, caches and preparation of inputs are used, so whatever `generate` can run is right here. Prompts
of one length form a batch, without padding, which would move positions and enter recurrent states. A batch runs until
its last request has ended, and the next requests wait for it: slower than continuous batching, and as exact.
"""

import logging
import threading
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from models.loading.properties import rope_parameters
from models.serving.engine import PLAIN
from models.serving.in_process.base import Progress, TransformersEngine, Work
from models.serving.in_process.limits import EngineLimits
from models.serving.in_process.sampling import pick_tokens, uniform

logger = logging.getLogger(__name__)


class PlainEngine(TransformersEngine):
    """Generates completions with one model by `generate`, as `models.serving.engine.Engine`."""

    name = PLAIN

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        limits: EngineLimits | None = None,
        reason: str | None = None,
        *,
        one_by_one: bool = False,
    ) -> None:
        """Start the engine's thread. With `one_by_one` no requests share a batch.

        Raises ValueError if the limits leave no room for a request.
        """
        super().__init__(model, tokenizer, limits or EngineLimits.for_model(model), reason)
        self._rows = 1 if one_by_one else self.limits.max_requests
        self._model: Any = model
        self._restart_positions = any(rope.get("rope_type") == "dynamic" for rope in rope_parameters(model.config))
        self._waiting: list[Work] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def slots(self) -> int:
        return self._rows

    def _start(self, work: Work) -> bool:
        with self._changed:
            if self._dead:
                return False
            self._waiting.append(work)
            self._changed.notify_all()
        return True

    def _drop(self, request_id: str) -> None:
        """Take the request out of the queue. A running batch leaves out requests that are no longer pending."""
        with self._changed:
            self._waiting = [work for work in self._waiting if work.request_id != request_id]

    def _stop(self) -> None:
        with self._changed:
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        try:
            while group := self._next_group():
                self._generate(group)
        except Exception:
            logger.exception("the engine failed")
        finally:
            self._on_exit()

    def _next_group(self) -> list[Work]:
        """Wait for requests, and return the oldest with others of its length that fit. Empty if the engine closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._dead)
            if self._dead:
                return []
            length = len(self._waiting[0].prompt)
            group: list[Work] = []
            longest = 0
            for work in [work for work in self._waiting if len(work.prompt) == length]:
                longest = max(longest, work.max_new_tokens)
                rows = len(group) + 1
                fits = rows * (length + longest) <= self.limits.cache_tokens
                fits = fits and rows * length <= 4 * self.limits.max_batch_tokens  # bounds the activations
                if group and not (fits and rows <= self._rows):
                    break
                group.append(work)
            chosen = {work.request_id for work in group}
            self._waiting = [work for work in self._waiting if work.request_id not in chosen]
            return group

    def _generate(self, group: list[Work]) -> None:
        prompts = torch.tensor([work.prompt for work in group], device=self._model.device)
        options = GenerationConfig(do_sample=False, max_new_tokens=max(work.max_new_tokens for work in group))
        own, self._model.generation_config = self._model.generation_config, GenerationConfig()
        try:
            with torch.inference_mode():
                if self._restart_positions:
                    self._model(prompts[:1, :1])  # a short text sets back what the last long one has stretched
                self._model.generate(
                    prompts,
                    attention_mask=torch.ones_like(prompts),
                    generation_config=options,
                    logits_processor=LogitsProcessorList([_Picker(group)]),
                    stopping_criteria=StoppingCriteriaList([_Watcher(self, group)]),
                )
        finally:
            self._model.generation_config = own

    def _advance(self, work: Work, token: int) -> bool:
        """Take the next token of a running request. Returns whether it has ended."""
        request = self._requests.get(work.request_id)
        if request is None or self._dead:
            return True
        tokens = [*request.tokens, token]
        finished = token in work.end_token_ids or len(tokens) >= work.max_new_tokens
        self._receive(Progress(work.request_id, tokens, finished, None))
        return work.request_id not in self._requests


class _Picker(LogitsProcessor):
    """Sets the score of each row's token to infinity, so that `generate`, which is greedy, takes it."""

    def __init__(self, group: list[Work]) -> None:
        self._group = group
        self._sampled = any(work.sampling.temperature for work in group)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`input_ids` are [rows, tokens so far], `scores` [rows, vocabulary] float32."""
        if not self._sampled:
            return scores
        position = input_ids.shape[1]
        sampling = [work.sampling for work in self._group]
        temperature, top_p, draw = torch.tensor(
            [(work.sampling.temperature, work.sampling.top_p, uniform(work.seed, position)) for work in self._group],
            dtype=torch.float32,
            device=scores.device,
        ).T
        top_k = torch.tensor([each.top_k for each in sampling], dtype=torch.int32, device=scores.device)
        tokens = pick_tokens(scores, temperature.contiguous(), top_p.contiguous(), top_k, draw.contiguous())
        return scores.scatter(1, tokens[:, None], torch.inf)


class _Watcher(StoppingCriteria):
    """Hands each row's new token to the engine, and ends the rows whose requests have ended."""

    def __init__(self, engine: PlainEngine, group: list[Work]) -> None:
        self._engine = engine
        self._group = group

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> Any:
        """`input_ids` are [rows, tokens so far]. Returns which rows have ended, [rows]."""
        tokens = input_ids[:, -1].tolist()
        ended = [self._engine._advance(work, token) for work, token in zip(self._group, tokens, strict=True)]
        return torch.tensor(ended, device=input_ids.device)
