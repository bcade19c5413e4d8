"""How a token is picked: for each request from its own seed, whatever shares the batch.

The stock continuous batching samples a whole batch from one random stream, so a sample depends on its neighbours.
Here a token depends on the request's seed, its prompt and its parameters alone.
"""

import hashlib
import struct
from collections.abc import Callable
from typing import Any, Protocol

import torch
from transformers import LogitsProcessorList
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessorList
from transformers.generation.continuous_batching.requests import FutureRequestState, RequestState

from models.serving.engine import Sampling


class Sampled(Protocol):
    """What the sampler needs to know of a request, and what it tells it."""

    sampling: Sampling
    seed: int
    state: RequestState | None


def uniform(seed: int, position: int) -> float:
    """The number in [0, 1) that picks the token at `position` (tokens from the prompt's start) under `seed`.

    A multiple of 2**-24, so float32 holds it exactly and never rounds it up to 1.
    """
    digest = hashlib.blake2b(struct.pack("<qq", seed, position), digest_size=3).digest()
    return int.from_bytes(digest, "little") / 2**24


def pick_tokens(
    scores: torch.Tensor, temperature: torch.Tensor, top_p: torch.Tensor, top_k: torch.Tensor, draw: torch.Tensor
) -> torch.Tensor:
    """One token id per row of `scores`.

    `scores` are logits, [rows, vocabulary] float32; the other arguments are [rows], with the ranges of `Sampling`, and
    `draw` in [0, 1). A row with temperature 0 takes its argmax. Any other row is scaled by its temperature, cut to its
    `top_k` likeliest tokens, then to the fewest of those whose probability reaches `top_p`, and picked by inverting
    the cumulative distribution at `draw`. The distribution runs in vocabulary order: tiny numerical differences then
    shift its steps a little, where an order by probability could swap two of them.
    """
    vocabulary = scores.shape[-1]
    greedy = temperature == 0
    scaled = scores / torch.where(greedy, 1.0, temperature)[:, None]
    ordered = scaled.sort(dim=-1, descending=True).values
    rank = torch.arange(vocabulary, device=scores.device)
    ordered = ordered.masked_fill((rank >= top_k[:, None]) & (top_k[:, None] > 0), -torch.inf)
    probability = ordered.softmax(dim=-1)
    reached_before = probability.cumsum(dim=-1) - probability
    kept = ((reached_before < top_p[:, None]) | (rank == 0)) & (ordered > -torch.inf)
    least = ordered.masked_fill(~kept, torch.inf).amin(dim=-1, keepdim=True)
    distribution = scaled.masked_fill(scaled < least, -torch.inf).softmax(dim=-1).cumsum(dim=-1)
    total = distribution[:, -1:].contiguous()
    last = torch.searchsorted(distribution, total)
    drawn = torch.searchsorted(distribution, draw[:, None] * total, right=True).minimum(last)
    return torch.where(greedy, scores.argmax(dim=-1), drawn[:, 0].clamp(max=vocabulary - 1))


class PerRequestSampler(ContinuousBatchingLogitsProcessorList):
    """Stands in for the manager's list of logits processors: it leaves only the picked token for the argmax to find.

    `requests` maps the manager's request ids to ours. A request that is in the batch but no longer in `requests` was
    cancelled before the manager knew of it, and is handed to `cancel`.
    """

    def __init__(self, requests: dict[str, Any], cancel: Callable[[str], None], always_sample: bool) -> None:
        self.requests = requests
        self.cancel = cancel
        self.always_sample = always_sample  # a captured CUDA graph cannot choose per batch
        self.batch_samples = False
        self.logits_processor = LogitsProcessorList()
        self.tensors_required = 4  # temperature, top_p, draw, top_k
        self.do_processing = True
        self.supported_keys = {}
        self.ignored_keys = set()

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """Greedy for the rows that pad a batch. `int32_tensor` is [4, 1]."""
        int32_tensor.zero_()
        int32_tensor[1] = torch.ones((), dtype=torch.float32).view(torch.int32)

    def prepare_tensor_args(
        self, requests_in_batch: list[FutureRequestState], arg_storage: torch.Tensor
    ) -> torch.Tensor:
        """Writes the next token's parameters of each request that gets one into `arg_storage` ([4, tokens], int32)."""
        rows: list[tuple[float, float, float]] = []
        top_ks: list[int] = []
        for future in requests_in_batch:
            if not future.has_new_token:
                continue
            state = future.state
            request: Sampled | None = self.requests.get(state.request_id)
            if request is None:
                self.cancel(state.request_id)
                rows.append((0.0, 1.0, 0.0))
                top_ks.append(0)
                continue
            request.state = state
            sampling = request.sampling
            draw = uniform(request.seed, state.position_offset) if sampling.temperature else 0.0
            rows.append((sampling.temperature, sampling.top_p, draw))
            top_ks.append(sampling.top_k)
        self.batch_samples = any(row[0] for row in rows)
        if rows and (self.batch_samples or self.always_sample):
            floats = torch.tensor(rows, dtype=torch.float32).T.contiguous().view(torch.int32)
            arg_storage[:3, : len(rows)] = floats.to(arg_storage.device)
            arg_storage[3, : len(rows)] = torch.tensor(top_ks, dtype=torch.int32).to(arg_storage.device)
        return arg_storage

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, logits_processor_args: torch.Tensor
    ) -> torch.Tensor:
        """Logits [rows, vocabulary] in; out, the same with the picked token of each row at infinity."""
        if not (self.batch_samples or self.always_sample):
            return scores
        args = logits_processor_args[:, : scores.shape[0]]
        temperature, top_p, draw = args[:3].contiguous().view(torch.float32)
        picked = pick_tokens(scores, temperature, top_p, args[3], draw)
        return scores.scatter(1, picked[:, None], torch.inf)
