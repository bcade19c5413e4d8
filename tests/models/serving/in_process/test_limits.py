"""How much memory an engine takes for its cache."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers.generation.continuous_batching.cache import PagedAttentionCache, PagedAttentionMemoryHandler
from transformers.generation.continuous_batching.utils import find_head_dim, find_num_key_value_heads

from models.serving.in_process.batching import Batcher
from models.serving.in_process.limits import EngineLimits, paged_tokens_that_fit
from tests.models import architectures

BUDGET = 256 * 2**20
SIZE = EngineLimits(0, max_batch_tokens=1024, max_requests=64)


def footprint(model: Any, limits: EngineLimits) -> int:
    """The bytes that transformers counts for a cache of this size and for the tensors that depend on it."""
    batcher: Any = Batcher(model, limits, lambda progress: None, lambda: None)
    config, options = model.config.get_text_config(), batcher.continuous_batching_config
    cache = PagedAttentionCache(config, options, torch.device("meta"), batcher.distributed_helper, model.dtype)
    handler = PagedAttentionMemoryHandler(
        config,
        options,
        model.dtype,
        cache.bytes_per_sector,
        cache.tokens_per_sector,
        2 * find_num_key_value_heads(config) * find_head_dim(config) * model.dtype.itemsize * limits.page_size,
        list(cache.cache_allocators),
    )
    return handler.compute_memory_footprint(cache.max_batch_tokens, cache.num_sectors)


@pytest.mark.parametrize("name", ["llama", "qwen2-window", "phi3-window", "mistral", "gemma3_text", "gpt_oss", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_cache_and_what_depends_on_it_fit_in_the_given_memory(name: str, dtype: torch.dtype) -> None:
    model, _ = architectures.make(name)
    model.to(dtype)
    limits = replace(SIZE, cache_tokens=paged_tokens_that_fit(model, SIZE, BUDGET))
    assert BUDGET / 2 < footprint(model, limits) <= BUDGET


def test_a_cache_is_no_larger_than_a_full_batch_can_use() -> None:
    model, _ = architectures.make("llama")
    limits = EngineLimits.for_model(model, 2**34)
    assert limits.cache_tokens == limits.max_requests * architectures.CONTEXT
