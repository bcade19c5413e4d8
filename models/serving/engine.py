"""The interface of every generation engine: requests, sampling parameters, completions, errors. Imports no torch."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any, Protocol

PAGED = "transformers-paged"
PLAIN = "transformers-plain"
"""Names of engines: continuous batching, and transformers' own `generate`, which is slower and runs every model."""


@dataclass(frozen=True)
class Sampling:
    """How the tokens of one completion are sampled.

    - `max_new_tokens`: at least 1. None allows as many tokens as the context has room for.
    - `temperature`: at least 0. At 0 the likeliest token is always taken, and `top_p` and `top_k` have no effect.
    - `top_p`: above 0 and at most 1. Only the likeliest tokens whose probabilities sum to `top_p` are sampled from.
    - `top_k`: at least 0. Only the `top_k` likeliest tokens are sampled from; 0 means all of them.
    - `seed`: a 64-bit signed integer. None picks a random seed.
    - `stop`: non-empty strings. The text ends before the first of them that appears.
    - `stop_token_ids`: tokens that end the completion, beside the model's own end tokens. They don't show in the text.

    Raises ValueError, naming the field, for a value out of range.
    """

    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, not {self.max_new_tokens}")
        if not (isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature must be a finite number of at least 0, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p}")
        if not 0 <= self.top_k < 2**31:
            raise ValueError(f"top_k must be at least 0 and below 2**31, not {self.top_k}")
        if self.seed is not None and not -(2**63) <= self.seed < 2**63:
            raise ValueError(f"seed must be a 64-bit signed integer, not {self.seed}")
        if not all(self.stop):
            raise ValueError("stop must not contain an empty string")
        if any(token < 0 for token in self.stop_token_ids):
            raise ValueError(f"stop_token_ids must be token ids of at least 0, not {list(self.stop_token_ids)}")


class FinishReason(StrEnum):
    STOP = "stop"  # the model generated an end token, or the text contained a stop string
    LENGTH = "length"  # max_new_tokens were generated
    CANCELLED = "cancelled"


class RequestError(ValueError):
    """The request is invalid: it fails on every engine of this model."""


class PromptTooLong(RequestError):
    """The prompt text fills the model's context, so not even one token can be generated."""


class EngineFailed(RuntimeError):
    """The engine died or was closed while the request was pending. The request can succeed on another engine."""


@dataclass(frozen=True)
class Completion:
    """The result of a request. `completion_tokens` counts all generated tokens, an end token included."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason


@dataclass(frozen=True)
class EngineStatistics:
    """A snapshot of an engine.

    `running` requests have generated at least one token, `waiting` ones have not. `requests_finished` and
    `tokens_generated` count from the engine's start. `cache_bytes` is allocated while the engine lives.
    """

    running: int
    waiting: int
    requests_finished: int
    tokens_generated: int
    cache_blocks_used: int
    cache_blocks_total: int
    cache_bytes: int


class Request(Protocol):
    """A submitted request."""

    @property
    def future(self) -> "Future[Completion]":
        """Resolves to the completion, or raises EngineFailed or RequestError.

        Its callbacks run on the engine's thread, so they must be short. `future.cancel()` has no effect: use `cancel`.
        """

    @property
    def tokens_done(self) -> int:
        """The number of tokens generated so far."""

    def cancel(self) -> None:
        """End the request: the future resolves to the text generated so far. No effect on a request that has ended."""


class Engine(Protocol):
    """Generates completions with one model. All members can be used from any thread."""

    @property
    def name(self) -> str:
        """How the model is served: `transformers-paged` or `transformers-plain`."""

    @property
    def version(self) -> str:
        """The version of the library that computes the completions. Another one may differ in their last tokens."""

    @property
    def reason(self) -> str | None:
        """Why the model is not served by the fastest engine, in one sentence; None if it is."""

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of transformers that the engine uses on its own thread. Copy it to use it on another."""

    @property
    def context_length(self) -> int:
        """The largest number of tokens of a prompt text and its completion together."""

    @property
    def end(self) -> int | None:
        """The first of the tokens that end every completion; None if the model has none."""

    @property
    def slots(self) -> int:
        """The largest number of requests that are generated at the same time; further ones wait."""

    @property
    def cache_bytes(self) -> int:
        """The memory that the engine's key-value cache takes."""

    @property
    def pending(self) -> int:
        """The number of requests that have not ended."""

    @property
    def alive(self) -> bool:
        """Whether the engine accepts requests."""

    def submit(self, prompt: str | Sequence[int], sampling: Sampling) -> Request:
        """Queue a request.

        `prompt` is all that the model continues: a prompt text, which the tokenizer encodes with its default special
        tokens, or token ids, which are taken as they are. Raises PromptTooLong or another RequestError for a
        request that can't run, and EngineFailed if the engine is not alive.
        """

    def count_tokens(self, texts: Sequence[str], *, special: bool = False) -> list[int]:
        """Return the number of tokens in each text; with `special`, including those that start a prompt text."""

    def statistics(self) -> EngineStatistics:
        """Return a snapshot of the engine. Cheap enough to call often."""

    def close(self) -> None:
        """Stop the engine and free its cache. Pending requests fail with EngineFailed. Can be called twice."""
