"""What every engine shares: how a completion is sampled, what comes out, and how a request fails. Imports no torch."""

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite


@dataclass(frozen=True)
class Sampling:
    """How one completion is drawn.

    `max_new_tokens` >= 1, or None for what the context leaves; `temperature` >= 0, where 0 is greedy and the other
    filters have no effect; 0 < `top_p` <= 1; `top_k` >= 0, where 0 is off; `seed` is any 64-bit signed integer, or
    None for a fresh random one; the text ends before the first of the `stop` strings, none of them empty.
    Raises ValueError, naming the field, on anything else.
    """

    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()

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
            raise ValueError(f"seed must fit in 64 bits, not {self.seed}")
        if not all(self.stop):
            raise ValueError("stop must not hold an empty string")


class FinishReason(StrEnum):
    STOP = "stop"  # the model ended the text, or a stop string did
    LENGTH = "length"  # max_new_tokens were generated
    CANCELLED = "cancelled"


class RequestError(ValueError):
    """The request is at fault: it fails the same way however often it is sent."""


class PromptTooLong(RequestError):
    """The prompt leaves no room in the context for even one token."""


class EngineFailed(RuntimeError):
    """The engine died or was closed under the request: the same request may well succeed on another engine."""


@dataclass(frozen=True)
class Completion:
    """What a request came to. `completion_tokens` counts every generated token, the one that ended it included."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason


@dataclass(frozen=True)
class EngineStatistics:
    """A snapshot. The two totals count since the engine started; `cache_bytes` are allocated for its whole life."""

    running: int
    waiting: int
    requests_finished: int
    tokens_generated: int
    cache_blocks_used: int
    cache_blocks_total: int
    cache_bytes: int
