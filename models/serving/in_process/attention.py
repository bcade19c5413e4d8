"""Attention for a packed batch on the CPU: each request over its own keys alone, read where they stand.

The stock version copies the keys of the whole batch out of the cache, attends over all of them and masks those of the
neighbours, which costs as many times too much as there are requests.
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
    allocator = cache.layer_to_allocator[module.layer_idx]
    read_index = kwargs["read_index"][allocator.index]
    new_key, new_value = (states[0].transpose(0, 1) for states in (key, value))
    write_index = kwargs["write_index"][allocator.index]
    allocator.update(new_key, new_value, module.layer_idx, read_index[:0], write_index)  # nothing to read: write only
    if read_index.numel() == 0:  # whole prompts, all of them new
        key_pages, value_pages = new_key[None], new_value[None]
        read_index = torch.arange(new_key.shape[0])
    else:
        key_pages, value_pages = allocator.get_cache_for_block_table(module.layer_idx)
    lengths = kwargs["cu_seq_lens_q"].diff().tolist()
    known = kwargs["cu_seq_lens_k"][allocator.layer_type].diff().tolist()
    outputs = [
        _attention(module, own_query, _read(key_pages, own_index), _read(value_pages, own_index), scaling)
        for own_query, own_index in zip(query.split(lengths, 2), read_index.split(known), strict=True)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _read(pages: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """One request's keys or values, [1, heads, tokens, head size]: a view if they stand in one page, else a copy.

    `pages` are [pages, page size, heads, head size] and `index` says where each token stands in them, end to end.
    """
    page, first = divmod(int(index[0]), pages.shape[1])
    in_one_page = first + index.numel() <= pages.shape[1]
    tokens = pages[page, first : first + index.numel()] if in_one_page else pages.flatten(0, 1).index_select(0, index)
    return tokens.transpose(0, 1)[None]


def _attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    queries, keys = query.shape[2], key.shape[2]
    # a prompt that goes in by chunks sees what went before, and of its own chunk what is not ahead
    mask = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries) if 1 < queries < keys else None
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=queries == keys and queries > 1,
        scale=scaling,
        enable_gqa=module.num_key_value_groups > 1,
    )


AttentionInterface.register(NAME, per_request_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
