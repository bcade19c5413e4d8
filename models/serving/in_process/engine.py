"""The generation engine: prompts go in at any time, share one running batch, and come out as completions."""

import atexit
import contextvars
import itertools
import logging
import secrets
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.generation.continuous_batching.requests import GenerationOutput, RequestState, RequestStatus

from models.serving.engine import (
    Completion,
    EngineFailed,
    EngineStatistics,
    FinishReason,
    PromptTooLong,
    RequestError,
    Sampling,
)
from models.serving.in_process.batching import (
    Batcher,
    EngineLimits,
    cache_bytes_per_token,
    context_length,
    eos_token_ids,
)

logger = logging.getLogger(__name__)

TEXTS_AT_ONCE = 64
"""Counting more texts in one piece would keep the tokenizer from prompts that wait to be submitted."""


class Request:
    """One submitted prompt. `future` resolves to its Completion, or raises EngineFailed.

    Callbacks of the future run on the engine's thread: keep them short.
    """

    def __init__(self, engine: "Engine", id: str, prompt_tokens: int, sampling: Sampling, seed: int) -> None:
        self.id = id
        self.prompt_tokens = prompt_tokens
        self.sampling = sampling
        self.seed = seed
        self.future: Future[Completion] = Future()
        self.future.set_running_or_notify_cancel()  # only the engine settles it, so future.cancel() is refused
        self.state: RequestState | None = None  # the manager's own record, once the request is in the batch
        self.context = contextvars.copy_context()  # of who submitted it: its log lines are to say on whose behalf
        self._engine = engine

    @property
    def tokens_done(self) -> int:
        """Tokens generated so far."""
        if self.future.done() and not self.future.exception():
            return self.future.result().completion_tokens
        return len(self.tokens())

    def tokens(self) -> list[int]:
        """The token ids generated so far. Those from before an eviction have become part of the manager's prompt."""
        if self.state is None:
            return []
        return self.state.initial_tokens[self.prompt_tokens :] + self.state.generated_tokens

    def cancel(self) -> None:
        """End the request now: the future resolves to what there is. Does nothing to one that has ended."""
        self._engine._cancel(self)


class Engine:
    """Generates completions with one model, batching continuously. All methods may be called from any thread.

    The engine owns the model until it is closed: nobody else may run it meanwhile.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, limits: EngineLimits | None = None
    ) -> None:
        """Starts the engine's thread and allocates its cache.

        Raises ValueError when the limits leave no room for a request."""
        self.limits = limits or EngineLimits.for_model(model)
        # the manager may ask for up to two pages more than it fills
        room = self.limits.cache_tokens - 2 * self.limits.page_size
        self.context_length = min(context_length(model), room)
        if self.context_length < 2:
            raise ValueError(f"a cache of {self.limits.cache_tokens} tokens holds no request")
        self.tokenizer = tokenizer
        self.cache_bytes = self.limits.cache_tokens * cache_bytes_per_token(model)
        self._vocabulary = int(model.config.get_text_config().vocab_size)
        self._eos = eos_token_ids(model, tokenizer)
        self._requests: dict[str, Request] = {}
        self._ids = itertools.count()
        self._lock = threading.Lock()
        self._encode_lock = threading.Lock()
        self._dead = False
        self._finished = 0
        self._tokens_generated = 0
        self._batcher = Batcher(model, self.limits, self._eos, self._requests, self._receive, self._on_exit)
        self._batcher.start()
        atexit.register(_close_at_exit, weakref.ref(self))

    def submit(self, prompt: str, sampling: Sampling) -> Request:
        """Queue a prompt; it joins the batch at the next step that has room.

        `prompt` is the whole text; the tokenizer adds the special tokens it adds by default. Raises PromptTooLong or
        another RequestError when the request can never run here, and EngineFailed when the engine is dead.
        """
        with self._encode_lock:
            ids: list[int] = self.tokenizer(prompt, verbose=False)["input_ids"]
        budget = self._budget(ids, sampling)
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        with self._lock:
            if not self.alive:
                raise EngineFailed("the engine has stopped")
            request = Request(self, str(next(self._ids)), len(ids), sampling, seed)
            self._requests[request.id] = request
        accepted = self._batcher.add_request(
            ids,
            request_id=request.id,
            max_new_tokens=budget,
            streaming=bool(sampling.stop),
            eos_token_id=self._eos or -1,
        )
        if accepted is None:
            self._fail(request, EngineFailed("the engine has stopped"))
        return request

    def _budget(self, ids: list[int], sampling: Sampling) -> int:
        """The tokens that the request may generate. Raises RequestError when it cannot run."""
        if not ids:
            raise RequestError("the prompt holds no tokens")
        if max(ids) >= self._vocabulary:
            raise RequestError(f"the tokenizer gives token {max(ids)}, the model knows {self._vocabulary} tokens")
        room = self.context_length - len(ids)
        if room < 1:
            raise PromptTooLong(
                f"the prompt has {len(ids)} tokens and the context {self.context_length}: no room for a completion"
            )
        if sampling.max_new_tokens is None:
            return min(room, self.limits.default_max_new_tokens)
        if sampling.max_new_tokens > room:
            raise RequestError(
                f"max_new_tokens is {sampling.max_new_tokens}, but the prompt has {len(ids)} tokens and the context "
                f"{self.context_length}: at most {room} are left"
            )
        return sampling.max_new_tokens

    def statistics(self) -> EngineStatistics:
        """A snapshot of the load, cheap enough to take often."""
        with self._lock:
            requests = list(self._requests.values())
            finished, tokens = self._finished, self._tokens_generated
        states = [request.state for request in requests if request.state is not None]
        page = self.limits.page_size
        return EngineStatistics(
            running=len(states),
            waiting=len(requests) - len(states),
            requests_finished=finished,
            tokens_generated=tokens + sum(request.tokens_done for request in requests),
            cache_blocks_used=sum(-(-state.current_len() // page) for state in states),
            cache_blocks_total=self.limits.cache_tokens // page,
            cache_bytes=self.cache_bytes,
        )

    @property
    def pending(self) -> int:
        """How many requests are running or waiting."""
        return len(self._requests)

    def count_tokens(self, texts: Sequence[str], *, special: bool = False) -> list[int]:
        """How many tokens each text takes; with `special` as the start of a prompt, with what the tokenizer adds."""
        counts: list[int] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            with self._encode_lock:
                some = list(texts[start : start + TEXTS_AT_ONCE])
                counts += map(len, self.tokenizer(some, add_special_tokens=special, verbose=False)["input_ids"])
        return counts

    @property
    def alive(self) -> bool:
        """Whether a request submitted now would be worked on."""
        return not self._dead

    def close(self) -> None:
        """Stop the engine and free its cache. What still runs fails with EngineFailed. May be called twice."""
        self._dead = True
        if self._batcher.is_running():
            self._batcher.stop(hard_stop=True)
        self._on_exit()

    # Below: called by the manager's thread, or under a cancel.

    def _receive(self, output: GenerationOutput) -> None:
        request = self._requests.get(output.request_id)
        if request is None:
            return
        if output.status == RequestStatus.FAILED:
            self._fail(request, EngineFailed(f"the engine failed: {output.error}"))
            return
        try:
            if output.status == RequestStatus.FINISHED:
                self._settle(request, output.generated_tokens, self._ended_by(output.generated_tokens))
            elif self._may_hold_stop(request, output.generated_tokens) and self._settle(
                request, output.generated_tokens, None
            ):
                self._batcher.cancel_request(request.id)
        except Exception as error:  # a fault in one request's text must not reach the others
            request.context.run(logger.exception, "request %s failed", request.id)
            self._fail(request, RequestError(f"the completion could not be read: {error}"))
            self._batcher.cancel_request(request.id)

    def _ended_by(self, tokens: list[int]) -> FinishReason:
        return FinishReason.STOP if tokens and tokens[-1] in self._eos else FinishReason.LENGTH

    def _may_hold_stop(self, request: Request, tokens: list[int]) -> bool:
        """Whether the newest token may complete a stop string: a look at the tail alone, whatever the length."""
        stops = request.sampling.stop
        # a token adds at least a byte; the rest covers a character cut in two at the tail's start
        tail = max(len(stop.encode()) for stop in stops) + 4
        text = self._decode(tokens[-tail:])
        return any(stop in text for stop in stops)

    def _settle(self, request: Request, tokens: list[int], reason: FinishReason | None) -> bool:
        """Resolve the request with its text cut before the first stop string. With no reason given, only if there is
        one. Returns whether it was resolved here."""
        text = self._decode(tokens)
        cuts = [at for stop in request.sampling.stop if (at := text.find(stop)) >= 0]
        if cuts and reason is not FinishReason.CANCELLED:
            reason = FinishReason.STOP
        if reason is None or not self._take(request, len(tokens)):
            return False
        text = text[: min(cuts)] if cuts else text
        request.future.set_result(Completion(text, request.prompt_tokens, len(tokens), reason))
        return True

    def _fail(self, request: Request, error: Exception) -> None:
        if self._take(request, len(request.tokens())):
            request.future.set_exception(error)

    def _take(self, request: Request, tokens: int) -> bool:
        """Whoever takes the request out of the table, and no one else, settles its future."""
        with self._lock:
            if self._requests.pop(request.id, None) is None:
                return False
            self._finished += 1
            self._tokens_generated += tokens
            return True

    def _cancel(self, request: Request) -> None:
        if self._settle(request, request.tokens(), FinishReason.CANCELLED):
            self._batcher.cancel_request(request.id)

    def _on_exit(self) -> None:
        with self._lock:
            self._dead = True
            left = list(self._requests.values())
        for request in left:
            self._fail(request, EngineFailed("the engine stopped before the request was done"))

    def _decode(self, tokens: list[int]) -> str:
        decoded: Any = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(decoded)


def _close_at_exit(reference: "weakref.ref[Engine]") -> None:
    engine = reference()
    if engine is not None:
        engine.close()
