"""Attention for a packed batch on the CPU: each request over its own keys alone.

The stock version attends over the keys of the whole batch and masks those of the neighbours, which costs as many
times too much as there are requests.
"""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "pagewright_per_request"


def per_request_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    cache: Any = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The attention output, [1, tokens, heads, head size], of packed requests.

    `query`, `key` and `value` are [1, heads, tokens, head size] and hold the new tokens; the earlier ones are in
    `cache`, the manager's paged cache. Without a cache this is plain SDPA, so `model.generate` goes on working.
    """
    if cache is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    key, value = cache.update(key_states=key, value_states=value, layer_idx=module.layer_idx, kwargs=kwargs)
    new = kwargs["cu_seq_lens_q"].diff().tolist()
    known = kwargs["cu_seq_lens_k"].diff().tolist()
    outputs = []
    pieces = zip(query.split(new, 2), key.split(known, 2), value.split(known, 2), new, known, strict=True)
    for own_query, own_key, own_value, queries, keys in pieces:
        # a prompt that goes in by chunks sees what went before, and of its own chunk what is not ahead
        mask = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries) if 1 < queries < keys else None
        outputs.append(
            scaled_dot_product_attention(
                own_query,
                own_key,
                own_value,
                attn_mask=mask,
                is_causal=queries == keys and queries > 1,
                scale=scaling,
                enable_gqa=module.num_key_value_groups > 1,
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2), None


AttentionInterface.register(NAME, per_request_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
