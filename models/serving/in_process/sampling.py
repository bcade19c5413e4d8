"""Picks the next token of each request from the request's own seed and parameters, whatever shares its batch.

transformers' continuous batching samples a whole batch from one stream of random numbers, so a sample depends on the
other requests. Here it depends on the request's seed, its parameters and the position of the token.
"""

import hashlib
import struct

import torch


def uniform(seed: int, position: int) -> float:
    """Return the number in [0, 1) that picks the token at `position`, counted from the start of the prompt text.

    It is a multiple of 2**-24, so float32 represents it exactly and never rounds it up to 1.
    """
    digest = hashlib.blake2b(struct.pack("<qq", seed, position), digest_size=3).digest()
    return int.from_bytes(digest, "little") / 2**24


def pick_tokens(
    logits: torch.Tensor, temperature: torch.Tensor, top_p: torch.Tensor, top_k: torch.Tensor, draw: torch.Tensor
) -> torch.Tensor:
    """Return one token id per row of `logits`, [rows].

    `logits` are [rows, vocabulary], float32. The other arguments are [rows], with the ranges of `Sampling`, and `draw`
    in [0, 1). A row with temperature 0 gets its likeliest token. Any other row is divided by its temperature, cut to
    its `top_k` likeliest tokens, then to the fewest of these whose probabilities sum to at least `top_p`, and sampled
    by inverting the cumulative distribution at `draw`. The distribution is in vocabulary order: a tiny numerical
    difference moves its steps a little, while in order of probability it could swap two tokens.
    """
    vocabulary = logits.shape[-1]
    greedy = temperature == 0
    scaled = logits / torch.where(greedy, 1.0, temperature)[:, None]
    ordered = scaled.sort(dim=-1, descending=True).values
    rank = torch.arange(vocabulary, device=logits.device)
    ordered = ordered.masked_fill((rank >= top_k[:, None]) & (top_k[:, None] > 0), -torch.inf)
    probability = ordered.softmax(dim=-1)
    sum_before = probability.cumsum(dim=-1) - probability
    kept = ((sum_before < top_p[:, None]) | (rank == 0)) & (ordered > -torch.inf)
    threshold = ordered.masked_fill(~kept, torch.inf).amin(dim=-1, keepdim=True)
    distribution = scaled.masked_fill(scaled < threshold, -torch.inf).softmax(dim=-1).cumsum(dim=-1)
    total = distribution[:, -1:].contiguous()
    last = torch.searchsorted(distribution, total)
    drawn = torch.searchsorted(distribution, draw[:, None] * total, right=True).minimum(last)
    return torch.where(greedy, logits.argmax(dim=-1), drawn[:, 0].clamp(max=vocabulary - 1))
