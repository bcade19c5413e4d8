"""How much memory an engine takes for its cache, and how many requests and tokens fit into its batch."""

from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel

from models.loading.properties import config_values, context_length

_DEFAULT_CPU_CACHE_BYTES = 2 * 2**30
_DEFAULT_GPU_CACHE_SHARE = 0.8


@dataclass(frozen=True)
class EngineLimits:
    """Bounds of an engine, fixed when it starts.

    - `cache_tokens`: tokens that the key-value cache holds, in pages of `page_size`.
    - `max_batch_tokens`, `max_requests`: the most tokens and requests that one step of the model computes.
    - `default_max_new_tokens`: the token limit of a request that names none.
    - `context_length`: the most tokens of a prompt and its completion; None takes the model's.
    """

    cache_tokens: int
    page_size: int = 64
    max_batch_tokens: int = 512
    max_requests: int = 64
    default_max_new_tokens: int = 2048
    context_length: int | None = None

    @classmethod
    def for_model(
        cls, model: PreTrainedModel, cache_bytes: int | None = None, context: int | None = None
    ) -> "EngineLimits":
        """Return limits that suit the model and its device. `context` replaces the model's context length.

        `cache_bytes` bounds the cache. It defaults to 2 GiB on a CPU and to 0.8 of the free memory on a GPU. The cache
        is never larger than a full batch can use.
        """
        on_gpu = model.device.type == "cuda"
        if cache_bytes is None:
            cache_bytes = (
                int(_DEFAULT_GPU_CACHE_SHARE * torch.cuda.mem_get_info(model.device)[0])
                if on_gpu
                else _DEFAULT_CPU_CACHE_BYTES
            )
        # On a CPU a request within one page is read without a copy, and most HTML pages fit in 256 tokens.
        limits = cls(0, max_batch_tokens=2048, max_requests=512) if on_gpu else cls(0, page_size=256)
        # Each token also takes a column of the attention mask and an entry of the read index.
        bytes_per_token = cache_bytes_per_token(model) + limits.max_batch_tokens * model.dtype.itemsize + 8
        # If the cache runs full, requests are evicted and computed again. On a CPU, where most contexts stay far from
        # full, room for a batch of 512 tokens per request is enough.
        context = context or context_length(model.config)
        wanted = limits.max_requests * context if on_gpu else max(limits.max_requests * min(context, 512), 4 * context)
        tokens = min(wanted, cache_bytes // bytes_per_token) // limits.page_size * limits.page_size
        return replace(limits, cache_tokens=tokens, context_length=context)


def cache_bytes_per_token(model: PreTrainedModel) -> int:
    """Return the bytes that the keys and values of one token take in all layers."""
    config = model.config.get_text_config()
    layers = getattr(config, "num_hidden_layers", None) or len(getattr(config, "layer_types", None) or "1")
    heads = [max(config_values(config, name), key=_or_0) for name in ("num_key_value_heads", "num_attention_heads")]
    cached_heads = heads[0] or heads[1]
    if not isinstance(cached_heads, int):  # recurrent models have a state instead, which is smaller
        return int(2 * layers * config.hidden_size * model.dtype.itemsize)
    head_dim = max(map(_or_0, config_values(config, "head_dim"))) or config.hidden_size // (heads[1] or cached_heads)
    return int(2 * layers * cached_heads * head_dim * model.dtype.itemsize)


def _or_0(value: int | None) -> int:
    return value or 0
