"""What Pagewright changes in transformers' continuous batching: its bounds, its sampler, and where outputs go."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.generation.continuous_batching.continuous_api import ContinuousBatchingManager, OutputRouter
from transformers.generation.continuous_batching.requests import GenerationOutput

from models.serving.in_process import attention
from models.serving.in_process.sampling import PerRequestSampler


@dataclass(frozen=True)
class EngineLimits:
    """Bounds of an engine's memory, fixed when it starts.

    The cache holds `cache_tokens` tokens in pages of `page_size`; one step runs at most `max_batch_tokens` tokens of
    at most `max_requests` requests; a request that names no budget gets `default_max_new_tokens` at most.
    """

    cache_tokens: int
    page_size: int = 64
    max_batch_tokens: int = 512
    max_requests: int = 64
    default_max_new_tokens: int = 2048

    @classmethod
    def for_model(cls, model: PreTrainedModel, cache_bytes: int | None = None) -> "EngineLimits":
        """Limits that suit the model's device. `cache_bytes` bounds the cache; the default is 2 GiB on the CPU, and on
        a GPU 0.8 of the memory that is free now. The cache is no larger than a full batch could use."""
        on_gpu = model.device.type == "cuda"
        if cache_bytes is None:
            cache_bytes = int(0.8 * torch.cuda.mem_get_info(model.device)[0]) if on_gpu else 2 * 2**30
        # on the CPU a request in one page is read without a copy, and most pages of HTML fit in 256 tokens
        limits = cls(0, max_batch_tokens=2048, max_requests=512) if on_gpu else cls(0, page_size=256)
        # beside a token's keys and values: its column of the attention mask and its place in the read index
        bytes_per_token = cache_bytes_per_token(model) + limits.max_batch_tokens * model.dtype.itemsize + 8
        # on the CPU room for a full batch of usual pages: when the cache runs out, requests are evicted and redone
        full = context_length(model)
        wanted = limits.max_requests * full if on_gpu else max(limits.max_requests * min(full, 512), 4 * full)
        tokens = min(wanted, cache_bytes // bytes_per_token) // limits.page_size * limits.page_size
        return cls(tokens, limits.page_size, limits.max_batch_tokens, limits.max_requests)


def context_length(model: PreTrainedModel) -> int:
    """The most tokens, prompt and completion together, that the model has positions for."""
    return int(model.config.get_text_config().max_position_embeddings)


def cache_bytes_per_token(model: PreTrainedModel) -> int:
    """Bytes that one token's keys and values take over all layers."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * head_dim * model.dtype.itemsize)


def eos_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end a completion: what the model's generation config names, else the tokenizer's own."""
    named = model.generation_config.eos_token_id if model.generation_config else None
    if named is None:
        named = tokenizer.eos_token_id
    if named is None:
        return []
    return list(named) if isinstance(named, list | tuple) else [int(named)]


class _Outputs(OutputRouter):
    """Hands outputs to a function, on the manager's thread, instead of queueing them for a second thread."""

    def __init__(self, receive: Callable[[GenerationOutput], None]) -> None:
        super().__init__()
        self.receive = receive

    def deliver(self, output: GenerationOutput) -> None:
        self.receive(output)

    def deliver_batch(self, outputs: list[GenerationOutput]) -> None:
        for output in outputs:
            self.receive(output)


class Batcher(ContinuousBatchingManager):
    """The manager with per-request sampling. `receive` gets every output and `on_exit` runs as the thread ends.

    Both run on the manager's thread and must not raise.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        limits: EngineLimits,
        eos: list[int],
        requests: dict[str, Any],
        receive: Callable[[GenerationOutput], None],
        on_exit: Callable[[], None],
    ) -> None:
        config = ContinuousBatchingConfig(
            page_size=limits.page_size,
            num_blocks=limits.cache_tokens // limits.page_size,
            max_batch_tokens=limits.max_batch_tokens,
            max_requests_per_batch=limits.max_requests,
            allow_block_sharing=False,  # prompts share less than a page, and a shared page differs in the last bits
        )
        config.auto_switch_to_flash = model.dtype != torch.float32  # flash attention knows no float32
        generation_config = GenerationConfig(do_sample=False, eos_token_id=eos or -1)
        untyped: Any = model  # the manager's own type for a model is narrower than what it takes
        super().__init__(untyped, generation_config, config)
        graphs = any(self.continuous_batching_config.cuda_graph_booleans)
        self.logit_processor = PerRequestSampler(requests, self.cancel_request, always_sample=graphs)
        self.output_router = _Outputs(receive)
        self.on_exit = on_exit

    def switch_to_cb_friendly_attn(self, model: Any, *options: Any) -> None:
        sliding = "sliding_attention" in (getattr(model.config.get_text_config(), "layer_types", None) or ())
        if model.device.type == "cpu" and model.config._attn_implementation in ("sdpa", attention.NAME) and not sliding:
            # never put back: without a paged cache it is SDPA, and a second engine may run the same model
            model.set_attn_implementation(attention.NAME)
        else:
            super().switch_to_cb_friendly_attn(model, *options)

    def start(self) -> None:
        """Start the thread. It is a daemon, so a program that forgot to close its engine can still end."""
        self.background_thread_status.clear()
        thread: Any = threading.Thread(target=self._run_generation_loop, name="engine", daemon=True)
        self._generation_thread = thread
        thread.start()

    def _generation_loop_body(self, batch_processor: Any, bootstrapping: bool) -> bool:
        # After an eviction new requests wait for one to finish. If all that ran are cancelled, none ever does.
        if not batch_processor.scheduler.active_requests:
            batch_processor.scheduler.block_new_requests = False
        return super()._generation_loop_body(batch_processor, bootstrapping)

    def _run_generation_loop(self) -> None:
        try:
            super()._run_generation_loop()
        finally:
            self.on_exit()
