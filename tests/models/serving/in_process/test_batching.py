"""The internals of transformers' continuous batching that the engine overrides or reads.

Written for transformers 5.23. After an upgrade, compare `models/serving/in_process/batching.py` and `attention.py` with
the new source wherever a test here fails.
"""

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from transformers.generation.continuous_batching.cache import PagedAttentionCache
from transformers.generation.continuous_batching.cache_allocators.cache_allocator import CacheAllocator
from transformers.generation.continuous_batching.cache_allocators.full_attention import FullAttentionCacheAllocator
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.continuous_api import ContinuousBatchingManager, OutputRouter
from transformers.generation.continuous_batching.requests import FutureRequestState, GenerationOutput, RequestState
from transformers.generation.continuous_batching.scheduler import Scheduler

import models
from models.serving.in_process.batching import Batcher, _Outputs, _Sampler, _SamplerList

PARAMETERS: list[tuple[Callable[..., Any], list[str]]] = [
    (
        ContinuousBatchingManager.__init__,
        ["self", "model", "generation_config", "continuous_batching_config", "workload_hints"],
    ),
    (ContinuousBatchingManager.switch_to_cb_friendly_attn, ["self", "model", "auto_switch_to_flash"]),
    (ContinuousBatchingManager.start, ["self"]),
    (ContinuousBatchingManager._run_generation_loop, ["self"]),
    (ContinuousBatchingManager._generation_loop_body, ["self", "batch_processor", "bootstrapping"]),
    (
        ContinuousBatchingManager.add_request,
        [
            "self", "input_ids", "request_id", "max_new_tokens", "streaming", "record_timestamps", "eos_token_id",
            "logit_processor_kwargs",
        ],
    ),
    (ContinuousBatchingManager.cancel_request, ["self", "request_id"]),
    (ContinuousBatchingManager.stop, ["self", "block", "timeout", "keep_for_next_session", "hard_stop"]),
    (OutputRouter.__init__, ["self"]),
    (OutputRouter.deliver, ["self", "output"]),
    (OutputRouter.deliver_batch, ["self", "outputs"]),
    (OutputRouter.fail_and_deliver, ["self", "state", "error"]),
    (
        ContinuousBatchingLogitsProcessorList.__init__,
        ["self", "logits_processor", "per_request_processors", "drop_unsupported_processors"],
    ),
    (ContinuousBatchingLogitsProcessorList.fill_defaults, ["self", "int32_tensor"]),
    (ContinuousBatchingLogitsProcessorList.prepare_tensor_args, ["self", "requests_in_batch", "arg_storage"]),
    (ContinuousBatchingLogitsProcessorList.__call__, ["self", "input_ids", "scores", "logits_processor_args"]),
    (ContinuousBatchingLogitsProcessor.fill_defaults, ["self", "int32_tensor"]),
    (ContinuousBatchingLogitsProcessor.prepare_tensor_args, ["self", "requests_with_new_token"]),
    (ContinuousBatchingLogitsProcessor.__call__, ["self", "scores", "tensor_arg"]),
    (
        FullAttentionCacheAllocator.update,
        ["self", "key_states", "value_states", "layer_idx", "read_index", "write_index"],
    ),
    (FullAttentionCacheAllocator.get_cache_for_block_table, ["self", "layer_idx"]),
]  # fmt: skip


@pytest.mark.parametrize(("function", "parameters"), PARAMETERS, ids=lambda value: getattr(value, "__qualname__", ""))
def test_transformers_methods_have_the_parameters_that_the_overrides_expect(
    function: Callable[..., Any], parameters: list[str]
) -> None:
    assert list(inspect.signature(function).parameters) == parameters


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Batcher, ContinuousBatchingManager),
        (_Outputs, OutputRouter),
        (_SamplerList, ContinuousBatchingLogitsProcessorList),
        (_Sampler, ContinuousBatchingLogitsProcessor),
    ],
)
def test_each_override_replaces_a_method_that_transformers_has(ours: type, theirs: type) -> None:
    new = {"submit"}
    overrides = {name for name, value in vars(ours).items() if inspect.isfunction(value)} - new
    assert overrides <= vars(theirs).keys() | {"__init__"}


def test_request_states_and_outputs_have_the_fields_that_the_sampler_and_the_engine_read() -> None:
    states = {field.name for field in fields(RequestState)}
    assert states >= {"request_id", "logit_processor_kwargs", "position_offset"}
    outputs = {field.name for field in fields(GenerationOutput)}
    assert outputs >= {"request_id", "generated_tokens", "status", "error"}
    assert {"state", "has_new_token"} <= set(FutureRequestState.__slots__)


def test_the_scheduler_and_the_cache_have_the_attributes_that_are_read_from_outside() -> None:
    assert {"active_requests", "block_new_requests"} <= names_assigned_in(Scheduler.reset)
    assert "layer_to_allocator" in names_assigned_in(PagedAttentionCache.__init__)
    assert "index" in names_assigned_in(CacheAllocator._before_cache_tensor_init)
    assert FullAttentionCacheAllocator.layer_type == "full_attention"


def test_the_manager_takes_its_processors_and_its_output_router_from_attributes() -> None:
    read = ContinuousBatchingManager._create_batch_processor.__code__.co_names
    assert {"logit_processor", "output_router"} <= set(read)
    assert {"logit_processor", "output_router", "background_thread_status", "_generation_thread"} <= names_assigned_in(
        ContinuousBatchingManager.__init__
    )


def test_a_request_keeps_its_parameters_when_it_is_evicted() -> None:
    state = RequestState("1", [5, 6], max_new_tokens=9, streaming=True, logit_processor_kwargs={"seed": 3})
    state.generated_tokens = [7]
    again = state.create_equivalent_initial_request()
    assert again.logit_processor_kwargs == {"seed": 3}
    assert again.to_generation_output().generated_tokens == [7]


def test_only_one_module_imports_the_internals_of_continuous_batching() -> None:
    root = Path(models.__file__).parents[1]
    sources = [file for room in ("models", "workers") for file in (root / room).rglob("*.py")]
    imports = "from transformers.generation.continuous_batching"
    assert [file.name for file in sources if imports in file.read_text()] == ["batching.py"]


def names_assigned_in(function: Callable[..., Any]) -> set[str]:
    """The attributes that a method sets on its object."""
    lines = inspect.getsource(function).splitlines()
    starts = (line.strip().removeprefix("self.") for line in lines if line.strip().startswith("self."))
    return {start.split(":")[0].split(" ")[0] for start in starts}
