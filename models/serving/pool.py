"""Loaded models, each with its engine, within a memory budget: the least recently used goes first.

An adapter has an engine of its own, over the weights of its base model, which are in memory once.
"""

import copy
import gc
import logging
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.loading import adapters
from models.loading.loader import default_device, load, loaded_bytes
from models.loading.refs import ModelLoadError, ModelRef
from models.serving.in_process.batching import EngineLimits, cache_bytes_per_token
from models.serving.in_process.engine import Engine

log = logging.getLogger(__name__)

CACHE_SHARE = 0.3
"""Of the budget, what one engine's cache may take: room stays for the weights, and for a second model."""


@dataclass(eq=False)
class _Base:
    """A model as it was loaded. No engine runs it itself, each runs a copy that shares its weights."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    bytes: int


@dataclass
class _Loaded:
    """`bytes` are those of the engine alone: its cache, and its adapter if it has one."""

    engine: Engine
    base: _Base
    bytes: int
    users: int = 0
    retiring: bool = False


@dataclass(frozen=True)
class PoolStatistics:
    """`models` counts engines: one for each model, and for each adapter. What follows the budget is their sum.

    `slots` is how many requests fit into the batches; `cache_used_bytes` is the part of the caches that holds tokens.
    """

    models: int
    bytes: int
    budget_bytes: int
    slots: int
    running: int
    waiting: int
    cache_bytes: int
    cache_used_bytes: int


class ModelPool:
    """Gives out engines by model. All methods may be called from any thread."""

    def __init__(self, memory_budget_bytes: int | None = None, device: str | None = None) -> None:
        """`memory_budget_bytes` bounds weights and caches together; the default is 0.85 of the GPU, or half of RAM."""
        self._device = device or default_device()
        self._budget = memory_budget_bytes or _default_budget(self._device)
        self._loaded: OrderedDict[ModelRef, _Loaded] = OrderedDict()  # the least recently used first
        # A base lives as long as an engine over it, or a load that is about to make one.
        self._bases: weakref.WeakValueDictionary[ModelRef, _Base] = weakref.WeakValueDictionary()
        self._loading: set[ModelRef] = set()
        self._changed = threading.Condition()
        self._load_lock = threading.Lock()

    @contextmanager
    def borrow(self, ref: ModelRef) -> Iterator[Engine]:
        """The model's engine, loaded if need be, and kept loaded for the length of the block.

        Callers that want the same model wait for one load. An engine that has died is replaced. Raises ModelLoadError,
        and what else loading raises, to the caller whose turn it was; the next one tries anew.
        """
        loaded = self._enter(ref)
        try:
            yield loaded.engine
        finally:
            with self._changed:
                loaded.users -= 1
                self._changed.notify_all()

    def statistics(self) -> PoolStatistics:
        with self._changed:
            engines = [loaded.engine for loaded in self._loaded.values()]
            taken = self._bytes()
        found = [engine.statistics() for engine in engines]
        return PoolStatistics(
            models=len(engines),
            bytes=taken,
            budget_bytes=self._budget,
            slots=sum(engine.limits.max_requests for engine in engines),
            running=sum(each.running for each in found),
            waiting=sum(each.waiting for each in found),
            cache_bytes=sum(each.cache_bytes for each in found),
            cache_used_bytes=sum(
                each.cache_bytes * each.cache_blocks_used // each.cache_blocks_total for each in found
            ),
        )

    def close(self) -> None:
        """Stop every engine; what runs on them fails with EngineFailed."""
        with self._changed:
            leaving = list(self._loaded.values())
            self._loaded.clear()
        for loaded in leaving:
            loaded.engine.close()

    def _enter(self, ref: ModelRef) -> _Loaded:
        with self._changed:
            while True:
                loaded = self._loaded.get(ref)
                if loaded is not None and not loaded.engine.alive:
                    log.warning("the engine of %s died; loading the model again", _name(ref))
                    del self._loaded[ref]
                elif loaded is not None and not loaded.retiring:
                    loaded.users += 1
                    self._loaded.move_to_end(ref)
                    return loaded
                elif loaded is None and ref not in self._loading:
                    self._loading.add(ref)
                    break
                else:
                    self._changed.wait()
        try:
            with self._load_lock:  # one at a time: two that load at once would both count the same free memory
                loaded = self._load(ref)
        finally:
            with self._changed:
                self._loading.discard(ref)
                self._changed.notify_all()
        return loaded

    def _load(self, ref: ModelRef) -> _Loaded:
        base = self._base(ref.base)
        model = adapters.share(base.model)
        if ref.adapter is not None:
            model = adapters.apply(model, Path(ref.adapter))
        own = adapters.tensor_bytes(model, shared=base.model)
        cache = min(int(CACHE_SHARE * self._budget), max(self._budget - base.bytes - own, 0))
        limits = EngineLimits.for_model(model, cache)
        self._make_room(own + limits.cache_tokens * cache_bytes_per_token(model))
        try:
            engine = Engine(model, copy.deepcopy(base.tokenizer), limits)  # no tokenizer serves two threads at once
        except ValueError as error:
            raise ModelLoadError(f"{_name(ref)}: {self._budget:,} bytes for models are too few: {error}") from error
        log.info("loaded %s: cache %d MiB", _name(ref), engine.cache_bytes >> 20)
        loaded = _Loaded(engine, base, own + engine.cache_bytes, users=1)
        with self._changed:
            self._loaded[ref] = loaded
        return loaded

    def _base(self, ref: ModelRef) -> _Base:
        """The model without an adapter: the one that is loaded already, if an engine over it still is."""
        base = self._bases.get(ref)
        if base is not None:
            return base
        estimate = loaded_bytes(ref, self._device)
        if estimate > self._budget:
            raise ModelLoadError(
                f"{_name(ref)}: the model takes about {estimate:,} bytes, of {self._budget:,} there are for models"
            )
        self._make_room(estimate)
        model, tokenizer = load(ref, self._device)
        base = _Base(model, tokenizer, adapters.tensor_bytes(model))
        log.info("loaded the weights of %s: %d MiB", _name(ref), base.bytes >> 20)
        with self._changed:
            self._bases[ref] = base
        return base

    def _make_room(self, wanted: int) -> None:
        """Close the least recently used engines until `wanted` bytes fit; waits for those that are in use."""
        while True:
            with self._changed:
                if not self._loaded or self._bytes() + wanted <= self._budget:
                    return
                ref, oldest = next(iter(self._loaded.items()))
                # Taken from the table only when idle, but closed to newcomers now: they must not keep it busy for good.
                oldest.retiring = True
                while oldest.users:
                    self._changed.wait()
                self._loaded.pop(ref, None)
            log.info("unloading %s to make room", _name(ref))
            oldest.engine.close()
            del oldest
            gc.collect()  # an engine and its batcher refer to each other
            if self._device == "cuda":
                torch.cuda.empty_cache()
            with self._changed:
                self._changed.notify_all()

    def _bytes(self) -> int:
        weights = sum(base.bytes for base in self._bases.values())
        return weights + sum(loaded.bytes for loaded in self._loaded.values())


def _name(ref: ModelRef) -> str:
    base = ref.location if ref.bitsandbytes is None else f"{ref.location} in {ref.bitsandbytes} bits"
    return base if ref.adapter is None else f"{ref.adapter} over {base}"


def _default_budget(device: str) -> int:
    if device == "cuda":
        return int(0.85 * torch.cuda.mem_get_info()[1])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
