"""How much memory an engine takes for its cache, and how many requests and tokens fit into its batch."""

from collections import Counter
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedConfig, PreTrainedModel

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

        `cache_bytes` bounds the cache and the tensors whose size depends on it. It defaults to 2 GiB on a CPU and to
        0.8 of the free memory on a GPU. The cache is never larger than a full batch can use.
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
        # If the cache runs full, requests are evicted and computed again. On a CPU, where most contexts stay far from
        # full, room for a batch of 512 tokens per request is enough.
        context = context or context_length(model.config)
        wanted = limits.max_requests * context if on_gpu else max(limits.max_requests * min(context, 512), 4 * context)
        tokens = min(wanted, tokens_that_fit(model, limits, cache_bytes)) // limits.page_size * limits.page_size
        return replace(limits, cache_tokens=tokens, context_length=context)


def tokens_that_fit(model: PreTrainedModel, limits: EngineLimits, memory: int) -> int:
    """Return how large a cache may be so that it and the tensors that depend on it take at most `memory` bytes."""
    if model.device.type == "cpu":  # Attention reads the cache piece by piece there.
        return memory // (cache_bytes_per_token(model) + limits.max_batch_tokens * model.dtype.itemsize + 8)
    return paged_tokens_that_fit(model, limits, memory)


def paged_tokens_that_fit(model: PreTrainedModel, limits: EngineLimits, memory: int) -> int:
    """Return `tokens_that_fit` for attention that first gathers what it reads from the cache."""
    bytes_per_token = cache_bytes_per_token(model) + _read_bytes_per_token(model, limits)
    return max(0, memory - _fixed_bytes(model, limits)) // bytes_per_token


def cache_bytes_per_token(model: PreTrainedModel) -> int:
    """Return the bytes that the keys and values of one token take in all layers."""
    config = model.config.get_text_config()
    layers = _layers(config)
    cached_heads, _, head_dim = _heads(config)
    if not cached_heads:  # recurrent models have a state instead, which is smaller
        return int(2 * layers * config.hidden_size * model.dtype.itemsize)
    return int(2 * layers * cached_heads * head_dim * model.dtype.itemsize)


def _read_bytes_per_token(model: PreTrainedModel, limits: EngineLimits) -> int:
    """Return the bytes that a token in the cache takes when it is read, without flash attention.

    It is a column of each attention mask, an entry of the read index, and a row of one layer's keys and values with
    the heads repeated. The layers of each attention type share tokens among them, so a type of few layers reads more
    tokens than the cache holds of all layers.
    """
    config = model.config.get_text_config()
    cached_heads, heads, head_dim = _heads(config)
    types = Counter(getattr(config, "layer_types", None) or ())
    masks = 2 if types["sliding_attention"] or any(config_values(config, "sliding_window")) else 1
    columns = masks * limits.max_batch_tokens * model.dtype.itemsize
    row = (2 * heads + cached_heads) * head_dim * model.dtype.itemsize
    reads = -(-_layers(config) // min(types.values(), default=_layers(config)))
    return int(reads * (columns + row + 8 * max(1, len(types))))


def _fixed_bytes(model: PreTrainedModel, limits: EngineLimits) -> int:
    """Return the bytes of a full batch's tensors: its states, the masks among its tokens, and logits."""
    config = model.config.get_text_config()
    cached_heads, heads, head_dim = _heads(config)
    tokens, itemsize = limits.max_batch_tokens, model.dtype.itemsize
    states = (config.hidden_size + 3 * (heads + cached_heads) * head_dim) * itemsize + 256
    logits = config.hidden_size * itemsize + config.vocab_size * torch.float32.itemsize
    return int(tokens * (states + 2 * tokens * itemsize + logits))


def _layers(config: PreTrainedConfig) -> int:
    return getattr(config, "num_hidden_layers", None) or len(getattr(config, "layer_types", None) or "1")


def _heads(config: PreTrainedConfig) -> tuple[int, int, int]:
    """Return how many heads are cached, how many attend, and their size; zeros of a model without attention."""
    cached, attending = (
        max(map(_or_0, config_values(config, name))) for name in ("num_key_value_heads", "num_attention_heads")
    )
    cached = cached or attending
    if not cached:
        return 0, 0, 0
    attending = attending or cached
    return cached, attending, max(map(_or_0, config_values(config, "head_dim"))) or config.hidden_size // attending


def _or_0(value: object) -> int:
    return value if isinstance(value, int) else 0
