"""What the engines in the worker's own process have in common: their requests, from the prompt to the completion."""

import atexit
import contextvars
import itertools
import logging
import secrets
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.loading.properties import context_length, eos_token_ids, position_scaling
from models.serving.engine import (
    Completion,
    EngineFailed,
    EngineStatistics,
    FinishReason,
    PromptTooLong,
    RequestError,
    Sampling,
)
from models.serving.in_process.limits import EngineLimits, cache_bytes_per_token

logger = logging.getLogger(__name__)

TEXTS_AT_ONCE = 64
"""Texts that `count_tokens` tokenizes before it lets a `submit` on another thread use the tokenizer."""


class Progress(NamedTuple):
    """The state of a request after a step: all tokens generated so far, and the error if it failed."""

    request_id: str
    tokens: list[int]
    finished: bool
    error: str | None


class Work(NamedTuple):
    """What an engine computes for a request: it ends at `max_new_tokens` or after one of `end_token_ids`."""

    request_id: str
    prompt: list[int]
    max_new_tokens: int
    end_token_ids: list[int]
    sampling: Sampling
    seed: int


class InProcessRequest:
    """A submitted request, as `models.serving.engine.Request`."""

    def __init__(self, engine: "TransformersEngine", id: str, prompt_tokens: int, sampling: Sampling) -> None:
        self.id = id
        self.prompt_tokens = prompt_tokens
        self.sampling = sampling
        self.future: Future[Completion] = Future()
        self.future.set_running_or_notify_cancel()  # only the engine resolves it, so future.cancel() has no effect
        self.tokens: list[int] = []
        """Token ids generated so far. The engine's thread replaces the list after each step."""
        self.context = contextvars.copy_context()  # log lines about the request name the submitter's job
        self._engine = engine

    @property
    def tokens_done(self) -> int:
        return len(self.tokens)

    def cancel(self) -> None:
        self._engine._cancel(self)


class TransformersEngine(ABC):
    """Turns requests into work for a model and its tokens into completions, as `models.serving.engine.Engine`.

    The engine owns the model until it is closed: no other code may run it meanwhile. A subclass calls `_receive` after
    each step, and `_on_exit` when its thread ends, both on that thread.
    """

    name: str
    version = transformers.__version__

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, limits: EngineLimits, reason: str | None
    ) -> None:
        """`reason` says why this engine serves the model and not a faster one. Raises ValueError if no request fits."""
        self.reason = reason
        self.limits = limits
        # The paged cache may reserve up to two pages more than it fills.
        room = limits.cache_tokens - 2 * limits.page_size
        self.context_length = min(limits.context_length or context_length(model.config), room)
        if self.context_length < 2:
            raise ValueError(f"a cache of {limits.cache_tokens} tokens has no room for a request")
        self.tokenizer = tokenizer
        self.cache_bytes = limits.cache_tokens * cache_bytes_per_token(model)
        self._scaling = position_scaling(model.config)
        self._vocabulary = int(model.config.get_text_config().vocab_size)
        self._eos = eos_token_ids(model, tokenizer)
        self._requests: dict[str, InProcessRequest] = {}
        self._ids = itertools.count()
        self._lock = threading.Lock()
        self._encode_lock = threading.Lock()
        self._dead = False
        self._finished = 0
        self._tokens_generated = 0
        atexit.register(_close_at_exit, weakref.ref(self))

    @abstractmethod
    def _start(self, work: Work) -> bool:
        """Queue the work. Returns False if the thread has stopped or is stopping."""

    @abstractmethod
    def _drop(self, request_id: str) -> None:
        """Stop working for a request, if it is still queued or running."""

    @abstractmethod
    def _stop(self) -> None:
        """Stop the thread. Can be called twice."""

    @property
    def end(self) -> int | None:
        return self._eos[0] if self._eos else None

    @property
    def slots(self) -> int:
        return self.limits.max_requests

    @property
    def pending(self) -> int:
        return len(self._requests)

    @property
    def alive(self) -> bool:
        return not self._dead

    def submit(self, prompt: str | Sequence[int], sampling: Sampling) -> InProcessRequest:
        """Queue a request; it starts when there is room. See `Engine.submit`."""
        ids = self._encode(prompt) if isinstance(prompt, str) else list(prompt)
        max_new_tokens = self._token_limit(ids, sampling)
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        with self._lock:
            if not self.alive:
                raise EngineFailed("the engine has stopped")
            request = InProcessRequest(self, str(next(self._ids)), len(ids), sampling)
            self._requests[request.id] = request
        ends = [*self._eos, *sampling.stop_token_ids]
        if not self._start(Work(request.id, ids, max_new_tokens, ends, sampling, seed)):
            self._fail(request, EngineFailed("the engine has stopped"))
        return request

    def _encode(self, text: str) -> list[int]:
        with self._encode_lock:
            ids: list[int] = self.tokenizer(text, verbose=False)["input_ids"]
        return ids

    def _token_limit(self, ids: list[int], sampling: Sampling) -> int:
        """Return the number of tokens that the request may generate. Raises RequestError if it can't run."""
        if not ids:
            raise RequestError("the prompt is empty: it has no tokens")
        if min(ids) < 0:
            raise RequestError(f"the prompt has token {min(ids)}: token ids start at 0")
        if max(ids) >= self._vocabulary:
            raise RequestError(
                f"the tokenizer does not fit the model: the prompt has token {max(ids)}, and the model's vocabulary "
                f"ends at token {self._vocabulary - 1}"
            )
        room = self.context_length - len(ids)
        if room < 1:
            raise PromptTooLong(
                f"the prompt is too long: it has {len(ids)} tokens, and the context {self.context_length} for the "
                f"prompt and its completion together{self._scaled()}"
            )
        if sampling.max_new_tokens is None:
            return min(room, self.limits.default_max_new_tokens)
        if sampling.max_new_tokens > room:
            raise RequestError(
                f"max_new_tokens is {sampling.max_new_tokens}, but the prompt has {len(ids)} of the context's "
                f"{self.context_length} tokens: max_new_tokens can be at most {room}{self._scaled()}"
            )
        return sampling.max_new_tokens

    def _scaled(self) -> str:
        return "" if self._scaling is None else f" ({self._scaling})"

    def count_tokens(self, texts: Sequence[str], *, special: bool = False) -> list[int]:
        counts: list[int] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            with self._encode_lock:
                some = list(texts[start : start + TEXTS_AT_ONCE])
                counts += map(len, self.tokenizer(some, add_special_tokens=special, verbose=False)["input_ids"])
        return counts

    def statistics(self) -> EngineStatistics:
        with self._lock:
            requests = list(self._requests.values())
            finished, tokens = self._finished, self._tokens_generated
        running = [(request.prompt_tokens, done) for request in requests if (done := request.tokens_done)]
        page = self.limits.page_size
        return EngineStatistics(
            running=len(running),
            waiting=len(requests) - len(running),
            requests_finished=finished,
            tokens_generated=tokens + sum(done for _, done in running),
            cache_blocks_used=sum(-(-(prompt + done) // page) for prompt, done in running),
            cache_blocks_total=self.limits.cache_tokens // page,
            cache_bytes=self.cache_bytes,
        )

    def close(self) -> None:
        self._dead = True
        self._stop()
        self._on_exit()

    # The methods below run on the engine's thread; those that end a request also run on that of a caller who cancels.

    def _receive(self, progress: Progress) -> None:
        request = self._requests.get(progress.request_id)
        if request is None:
            # It was cancelled. Continuous batching ignores a cancellation that reaches it before the request does.
            if not progress.finished:
                self._drop(progress.request_id)
            return
        if progress.error is not None:
            self._fail(request, EngineFailed(f"the engine failed: {progress.error}"))
            return
        request.tokens = progress.tokens
        try:
            if progress.finished:
                self._complete(request, self._finish_reason(request))
            elif self._may_contain_stop(request) and self._complete(request, None):
                self._drop(request.id)
        except Exception as error:  # an error in one request's text must not reach the others
            request.context.run(logger.exception, "request %s failed", request.id)
            self._fail(request, RequestError(f"the generated tokens can't be decoded: {error}"))
            self._drop(request.id)

    def _finish_reason(self, request: InProcessRequest) -> FinishReason:
        return FinishReason.STOP if self._has_ended(request) else FinishReason.LENGTH

    def _has_ended(self, request: InProcessRequest) -> bool:
        last = request.tokens[-1:]
        return bool(last) and (last[0] in self._eos or last[0] in request.sampling.stop_token_ids)

    def _may_contain_stop(self, request: InProcessRequest) -> bool:
        """Return whether the newest token may complete a stop string. Looks only at the last tokens, so it is fast."""
        stops = request.sampling.stop
        if not stops:
            return False
        # Each token has at least one byte. Four more cover a character that is cut in two where the tail starts.
        tail = max(len(stop.encode()) for stop in stops) + 4
        text = self._decode(request.tokens[-tail:])
        return any(stop in text for stop in stops)

    def _complete(self, request: InProcessRequest, reason: FinishReason | None) -> bool:
        """Resolve the request with its text before the first stop string, and return whether this call resolved it.

        With `reason` None, it is resolved only if the text contains a stop string.
        """
        tokens = request.tokens
        # An end token is not always a special token of the tokenizer, which `_decode` leaves out.
        text = self._decode(tokens[:-1] if self._has_ended(request) else tokens)
        cuts = [position for stop in request.sampling.stop if (position := text.find(stop)) >= 0]
        if cuts and reason is not FinishReason.CANCELLED:
            reason = FinishReason.STOP
        if reason is None or not self._remove(request, len(tokens)):
            return False
        text = text[: min(cuts)] if cuts else text
        request.future.set_result(Completion(text, request.prompt_tokens, len(tokens), reason))
        return True

    def _fail(self, request: InProcessRequest, error: Exception) -> None:
        if self._remove(request, request.tokens_done):
            request.future.set_exception(error)

    def _remove(self, request: InProcessRequest, tokens: int) -> bool:
        """Remove the request from the pending ones. Only the thread that gets True may resolve its future."""
        with self._lock:
            if self._requests.pop(request.id, None) is None:
                return False
            self._finished += 1
            self._tokens_generated += tokens
            return True

    def _cancel(self, request: InProcessRequest) -> None:
        if self._complete(request, FinishReason.CANCELLED):
            self._drop(request.id)

    def _on_exit(self) -> None:
        with self._lock:
            self._dead = True
            pending = list(self._requests.values())
        for request in pending:
            self._fail(request, EngineFailed("the engine stopped before the request was completed"))

    def _decode(self, tokens: list[int]) -> str:
        text: Any = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)


def _close_at_exit(reference: "weakref.ref[TransformersEngine]") -> None:
    engine = reference()
    if engine is not None:
        engine.close()
