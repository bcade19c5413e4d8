"""Attention for a packed batch on the CPU: each request attends to its own keys only, read in place from the cache.

transformers' version copies the keys of all requests out of the cache, attends to all of them and masks those of other
requests. With n requests in the batch it computes n times as much as needed.
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
    """Return the attention output of packed requests, [1, tokens, heads, head size], and no attention weights.

    `query`, `key` and `value` are [1, heads, tokens, head size] and contain the new tokens. The earlier tokens are in
    `cache`, the paged cache of transformers' continuous batching. Without a cache this is plain SDPA, so that
    `model.generate` works too.
    """
    if cache is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    allocator = cache.layer_to_allocator[module.layer_idx]
    read_index = kwargs["read_index"][allocator.index]
    new_key, new_value = (states[0].transpose(0, 1) for states in (key, value))
    write_index = kwargs["write_index"][allocator.index]
    # With an empty read index it only writes.
    allocator.update(new_key, new_value, module.layer_idx, read_index[:0], write_index)
    if read_index.numel() == 0:  # only whole prompts: nothing is in the cache yet
        key_pages, value_pages = new_key[None], new_value[None]
        read_index = torch.arange(new_key.shape[0])
    else:
        key_pages, value_pages = allocator.get_cache_for_block_table(module.layer_idx)
    lengths = kwargs["cu_seq_lens_q"].diff().tolist()
    key_lengths = kwargs["cu_seq_lens_k"][allocator.layer_type].diff().tolist()
    outputs = [
        _attention(module, request_query, _read(key_pages, index), _read(value_pages, index), scaling)
        for request_query, index in zip(query.split(lengths, 2), read_index.split(key_lengths), strict=True)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _read(pages: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return one request's keys or values, [1, heads, tokens, head size]: a view if they are in one page, else a copy.

    `pages` are [pages, page size, heads, head size]. `index` is [tokens] and gives each token's position in the pages,
    laid end to end.
    """
    page, first = divmod(int(index[0]), pages.shape[1])
    in_one_page = first + index.numel() <= pages.shape[1]
    tokens = pages[page, first : first + index.numel()] if in_one_page else pages.flatten(0, 1).index_select(0, index)
    return tokens.transpose(0, 1)[None]


def _attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    queries, keys = query.shape[2], key.shape[2]
    # A chunk of a long prompt attends to all earlier chunks, and causally to itself.
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
