"""Attention for batches that are one row of examples end to end, where no example attends to another.

Every training batch has this form, packed or not. So a packed example is computed exactly as it would be alone.
"""

from typing import Any, cast

import torch
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

NAME = "pagewright_packed"
"""The name under which transformers knows this attention."""


def packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Return the causal attention within each example, [1, tokens, heads, head size].

    `query`, `key` and `value` are [1, heads, tokens, head size]. `cu_seq_lens_q` holds the position where each example
    starts, and at its end the number of tokens. Raises NotImplementedError for attention with capped logits (`softcap`)
    or sinks (`s_aux`).
    """
    if softcap is not None or s_aux is not None:
        raise NotImplementedError(
            "model: training a model with capped attention logits or attention sinks is not supported"
        )
    window = sliding_window if sliding_window is not None and sliding_window < max_length_q else None
    # varlen_attn supports neither float32 nor dropout.
    if query.is_cuda and query.dtype != torch.float32 and not dropout:
        groups = query.shape[1] // key.shape[1]
        output = varlen_attn(
            query[0].transpose(0, 1),
            _repeat(key, groups)[0].transpose(0, 1),
            _repeat(value, groups)[0].transpose(0, 1),
            cu_seq_lens_q,
            cu_seq_lens_q,
            max_length_q,
            max_length_q,
            scale=scaling,
            window_size=(-1 if window is None else window - 1, 0),  # (left, right): causal
        )
        return cast(torch.Tensor, output)[None], None
    lengths = cu_seq_lens_q.diff().tolist()
    outputs = [
        scaled_dot_product_attention(
            own_query,
            own_key,
            own_value,
            attn_mask=None if window is None else _window_mask(own_query, window),
            dropout_p=dropout,
            is_causal=window is None,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        for own_query, own_key, own_value in zip(
            query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True
        )
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def _repeat(states: torch.Tensor, groups: int) -> torch.Tensor:
    return states if groups == 1 else states.repeat_interleave(groups, dim=1)


def _window_mask(query: torch.Tensor, window: int) -> torch.Tensor:
    tokens = query.shape[2]
    return torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).tril().triu(1 - window)


def _no_mask(*_: Any, **__: Any) -> None:
    return None


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, _no_mask)
