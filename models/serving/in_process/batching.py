"""The seam to transformers' continuous batching, and the only module that imports or overrides its internals.

Written for transformers 5.23, which `pyproject.toml` pins; `test_batching.py` fails when the internals below change.
What 5.23 offers publicly is used as it is: token-by-token outputs, cancelling, and per-request parameters of a logits
processor. What it does not offer is overridden here:

- `ContinuousBatchingLogitsProcessorList` gives each processor one 32-bit value per request, and counts none for a
  custom processor. The sampler needs four values.
- `OutputRouter` puts outputs into a queue for a second thread, or hands them to an asyncio loop. The engine handles
  them on the manager's thread.
- `ContinuousBatchingManager` has no hook for the end of its thread, runs it as a non-daemon thread, and does not accept
  an attention function of another name. After an eviction it admits no request until a running one finishes, which
  never happens if all running ones are cancelled.

`attention.py` beside this module reads the manager's paged cache, which transformers passes to attention functions.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.continuous_api import ContinuousBatchingManager, OutputRouter
from transformers.generation.continuous_batching.requests import FutureRequestState, GenerationOutput, RequestStatus

from models.loading.properties import config_values
from models.serving.engine import Sampling
from models.serving.in_process import attention
from models.serving.in_process.base import Progress, Work
from models.serving.in_process.limits import EngineLimits
from models.serving.in_process.sampling import pick_tokens, uniform

COMPARISON = "engine comparison"
"""The thread that finds out whether a model is supported. An error there is an answer, and not logged."""

logging.getLogger("ContinuousBatchingLogger").addFilter(lambda record: record.threadName != COMPARISON)

Watch = Callable[[list[str], torch.Tensor], None]
"""Is called with the requests that get a token in a step, and their logits, [at least requests, vocabulary]."""


class _Sampler(ContinuousBatchingLogitsProcessor):
    """Samples each request by its own `sampling` and `seed`.

    The manager then takes the argmax of the scores, so the sampled token's score is set to infinity.
    """

    values_per_request = 4

    def __init__(self, always_sample: bool) -> None:
        """With `always_sample` greedy batches are computed as sampled ones: a captured CUDA graph can't choose."""
        self.supported_kwargs = {"sampling": Sampling, "seed": int}
        self.ignored_kwargs = ()
        self._always_sample = always_sample
        self._samples = always_sample

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """Write the parameters of greedy sampling into `int32_tensor`, [4, columns]."""
        int32_tensor.copy_(_as_int32([(0.0, 1.0, 0.0)], [0]))

    def prepare_tensor_args(self, requests_with_new_token: list[FutureRequestState]) -> torch.Tensor:
        """Return the parameters of each request's next token, [4, requests] int32; no requests if all are greedy."""
        rows: list[tuple[float, float, float]] = []
        top_ks: list[int] = []
        for request in requests_with_new_token:
            state = request.state
            sampling: Sampling = state.logit_processor_kwargs["sampling"]
            draw = uniform(state.logit_processor_kwargs["seed"], state.position_offset) if sampling.temperature else 0.0
            rows.append((sampling.temperature, sampling.top_p, draw))
            top_ks.append(sampling.top_k)
        self._samples = self._always_sample or any(temperature for temperature, _, _ in rows)
        return _as_int32(rows, top_ks) if self._samples and rows else torch.empty(4, 0, dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        """Set the score of each row's sampled token to infinity.

        `scores` are [rows, vocabulary] float32, `tensor_arg` is [4, at least rows] int32.
        """
        if not self._samples:
            return scores
        parameters = tensor_arg[:, : scores.shape[0]]
        temperature, top_p, draw = parameters[:3].contiguous().view(torch.float32)
        tokens = pick_tokens(scores, temperature, top_p, parameters[3], draw)
        return scores.scatter(1, tokens[:, None], torch.inf)


def _as_int32(rows: list[tuple[float, float, float]], top_ks: list[int]) -> torch.Tensor:
    """Return [4, requests] int32: temperature, top_p and draw as the bits of float32, then top_k."""
    floats = torch.tensor(rows, dtype=torch.float32).T.contiguous().view(torch.int32)
    return torch.cat([floats, torch.tensor([top_ks], dtype=torch.int32)])


class _SamplerList(ContinuousBatchingLogitsProcessorList):
    """A list of the sampler alone, which gets all rows of the manager's storage for processor arguments."""

    def __init__(self, sampler: _Sampler, watch: Watch | None) -> None:
        super().__init__(LogitsProcessorList([sampler]))
        self.sampler = sampler
        self._watch = watch
        self._with_new_token: list[str] = []
        self.tensors_required = sampler.values_per_request

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        self.sampler.fill_defaults(int32_tensor)

    def prepare_tensor_args(
        self, requests_in_batch: list[FutureRequestState], arg_storage: torch.Tensor
    ) -> torch.Tensor:
        with_new_token = [each for each in requests_in_batch if each.has_new_token]
        if self._watch is not None:
            self._with_new_token = [each.state.request_id for each in with_new_token]
        parameters = self.sampler.prepare_tensor_args(with_new_token)
        arg_storage[:, : parameters.shape[1]] = parameters.to(arg_storage.device)
        return arg_storage

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, logits_processor_args: torch.Tensor
    ) -> torch.Tensor:
        if self._watch is not None:
            self._watch(self._with_new_token, scores)
        return self.sampler(scores, logits_processor_args)


class _Outputs(OutputRouter):
    """Hands outputs to a function on the manager's thread."""

    def __init__(self, receive: Callable[[Progress], None]) -> None:
        super().__init__()
        self._receive = receive

    def deliver(self, output: GenerationOutput) -> None:
        error = (output.error or "unknown error") if output.status == RequestStatus.FAILED else None
        self._receive(Progress(output.request_id, output.generated_tokens, output.is_finished(), error))

    def deliver_batch(self, outputs: list[GenerationOutput]) -> None:
        for output in outputs:
            self.deliver(output)


class Batcher(ContinuousBatchingManager):
    """Runs one model on a thread, and samples each request by its own parameters."""

    def __init__(
        self,
        model: PreTrainedModel,
        limits: EngineLimits,
        receive: Callable[[Progress], None],
        on_exit: Callable[[], None],
        watch: Watch | None = None,
    ) -> None:
        """`receive` gets every request's progress after each step, `on_exit` is called when the thread ends.

        Both run on the manager's thread and must not raise. With `watch` one step is computed at a time, and without
        CUDA graphs, which would call it only while they are captured.
        """
        config = ContinuousBatchingConfig(
            page_size=limits.page_size,
            num_blocks=limits.cache_tokens // limits.page_size,
            max_batch_tokens=limits.max_batch_tokens,
            max_requests_per_batch=limits.max_requests,
            # Prompts share less than a page, and the results of a shared page differ in their last bits.
            allow_block_sharing=False,
            # Flash attention does not support float32.
            auto_switch_to_flash=model.dtype != torch.float32,
            use_cuda_graph=None if watch is None else False,
            use_async_batching=None if watch is None else False,
        )
        generation_config = GenerationConfig(do_sample=False, eos_token_id=-1)  # each request names its own
        untyped: Any = model  # the manager declares a narrower type than it accepts
        super().__init__(untyped, generation_config, config)
        uses_graphs = any(self.continuous_batching_config.cuda_graph_booleans)
        self.logit_processor = _SamplerList(_Sampler(always_sample=uses_graphs), watch)
        self.output_router = _Outputs(receive)
        self._on_exit = on_exit
        self._thread_name = "engine" if watch is None else COMPARISON

    def submit(self, work: Work) -> bool:
        """Queue a request. Returns False if the thread has stopped or is stopping."""
        accepted = self.add_request(
            work.prompt,
            work.request_id,
            work.max_new_tokens,
            streaming=True,
            eos_token_id=work.end_token_ids or -1,
            sampling=work.sampling,
            seed=work.seed,
        )
        return accepted is not None

    def switch_to_cb_friendly_attn(self, model: Any, auto_switch_to_flash: bool = True) -> None:
        windows = "sliding_attention" in (getattr(model.config.get_text_config(), "layer_types", None) or ())
        sliding = windows or any(config_values(model.config, "sliding_window"))
        if model.device.type == "cpu" and model.config._attn_implementation in ("sdpa", attention.NAME) and not sliding:
            # Never set back: without a paged cache it is SDPA, and another engine may run the same model.
            model.set_attn_implementation(attention.NAME)
        else:
            super().switch_to_cb_friendly_attn(model, auto_switch_to_flash)

    def start(self) -> None:
        """Start the thread as a daemon, so that a program that does not close its engine can exit."""
        self.background_thread_status.clear()
        thread: Any = threading.Thread(target=self._run_generation_loop, name=self._thread_name, daemon=True)
        self._generation_thread = thread
        thread.start()

    def _generation_loop_body(self, batch_processor: Any, bootstrapping: bool) -> bool:
        if not batch_processor.scheduler.active_requests:
            batch_processor.scheduler.block_new_requests = False
        return super()._generation_loop_body(batch_processor, bootstrapping)

    def _run_generation_loop(self) -> None:
        try:
            super()._run_generation_loop()
        finally:
            self._on_exit()
