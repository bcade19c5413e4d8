"""The pool of loaded models and their engines, within a memory budget.

Each model and each adapter has its own engine. Adapters share the weights of their base model. When memory is needed,
the least recently used engine is closed first.
"""

import copy
import gc
import logging
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.loading import adapters
from models.loading.loader import default_device, load, loaded_bytes
from models.loading.refs import ModelLoadError, ModelRef
from models.serving.engine import Engine
from models.serving.in_process.choosing import start_engine
from models.serving.in_process.limits import EngineLimits, cache_bytes_per_token

log = logging.getLogger(__name__)

CACHE_SHARE = 0.3
"""The part of the budget that one engine's cache may take, so that the weights and a second model have room."""


@dataclass(eq=False)
class _Base:
    """A model without adapter, as it was loaded. Engines run copies of it that share its weights."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    bytes: int


@dataclass
class _Loaded:
    """An engine. `bytes` counts its cache and its adapter's weights, not those of the base model."""

    engine: Engine
    base: _Base
    bytes: int
    users: int = 0
    retiring: bool = False


@dataclass(frozen=True)
class PoolStatistics:
    """A snapshot of the pool: its memory, and sums over its engines.

    `models` counts the engines, one for each loaded model and each loaded adapter. `slots` is the number of requests
    that fit into their batches. `cache_used_bytes` is the part of `cache_bytes` that contains tokens.
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
    """Loads models and lends their engines. All methods can be called from any thread."""

    def __init__(
        self, memory_budget_bytes: int | None = None, device: str | None = None, context_length: int | None = None
    ) -> None:
        """`memory_budget_bytes` bounds weights and caches together. It defaults to 0.85 of the GPU's memory, or half of
        the RAM on a CPU. `device` is `cuda` or `cpu`, by default `cuda` if there is a GPU.
        `context_length` replaces that of every model's configuration.
        """
        self._context_length = context_length
        self._device = device or default_device()
        self._budget = memory_budget_bytes or _default_budget(self._device)
        self._loaded: OrderedDict[ModelRef, _Loaded] = OrderedDict()  # least recently used first
        # A base is freed with the last engine that uses it. A load in progress holds one too.
        self._bases: weakref.WeakValueDictionary[ModelRef, _Base] = weakref.WeakValueDictionary()
        self._loading: set[ModelRef] = set()
        self._changed = threading.Condition()
        self._load_lock = threading.Lock()

    @contextmanager
    def borrow(self, ref: ModelRef, on_wait: Callable[[], None] = lambda: None) -> Iterator[Engine]:
        """Yield the model's engine, which stays loaded until the block ends.

        Loads the model if it is not loaded or its engine has died. Callers who need the same model wait for one load.
        `on_wait` is called once, before a caller loads the model or waits for another caller's load; it is not called
        if the engine is there. If the load fails, its caller gets the exception (ModelLoadError, or what the network
        or memory raises), and the next caller tries again.
        """
        loaded = self._enter(ref, on_wait)
        try:
            yield loaded.engine
        finally:
            with self._changed:
                loaded.users -= 1
                self._changed.notify_all()

    def statistics(self) -> PoolStatistics:
        """Return a snapshot of the pool."""
        with self._changed:
            engines = [loaded.engine for loaded in self._loaded.values()]
            used = self._bytes()
        each = [engine.statistics() for engine in engines]
        return PoolStatistics(
            models=len(engines),
            bytes=used,
            budget_bytes=self._budget,
            slots=sum(engine.slots for engine in engines),
            running=sum(engine.running for engine in each),
            waiting=sum(engine.waiting for engine in each),
            cache_bytes=sum(engine.cache_bytes for engine in each),
            cache_used_bytes=sum(
                engine.cache_bytes * engine.cache_blocks_used // engine.cache_blocks_total for engine in each
            ),
        )

    def close(self) -> None:
        """Close every engine. Their pending requests fail with EngineFailed."""
        with self._changed:
            engines = [loaded.engine for loaded in self._loaded.values()]
            self._loaded.clear()
        for engine in engines:
            engine.close()

    def _enter(self, ref: ModelRef, on_wait: Callable[[], None]) -> _Loaded:
        """Count the caller as a user of the model's engine, and load it if no other thread does."""
        with self._changed:
            loaded = self._lend(ref)
        if loaded is not None:
            return loaded
        on_wait()
        with self._changed:
            while (loaded := self._lend(ref)) is None:
                retiring = ref in self._loaded
                if not retiring and ref not in self._loading:
                    self._loading.add(ref)
                    break
                self._changed.wait()
        if loaded is not None:
            return loaded
        try:
            with self._load_lock:  # two loads at once would both count the same free memory
                loaded = self._load(ref)
        finally:
            with self._changed:
                self._loading.discard(ref)
                self._changed.notify_all()
        return loaded

    def _lend(self, ref: ModelRef) -> _Loaded | None:
        """Count the caller, who holds the lock, as a user of the engine. Returns None if there is none to lend."""
        loaded = self._loaded.get(ref)
        if loaded is not None and not loaded.engine.alive:
            log.warning("the engine of %s has died; loading the model again", _name(ref))
            del self._loaded[ref]
            return None
        if loaded is None or loaded.retiring:
            return None
        loaded.users += 1
        self._loaded.move_to_end(ref)
        return loaded

    def _load(self, ref: ModelRef) -> _Loaded:
        base = self._base(ref.base)
        model = adapters.share(base.model)
        if ref.adapter is not None:
            model = adapters.apply(model, Path(ref.adapter))
        adapter_bytes = adapters.tensor_bytes(model, shared=base.model)
        cache = min(int(CACHE_SHARE * self._budget), max(self._budget - base.bytes - adapter_bytes, 0))
        limits = EngineLimits.for_model(model, cache, self._context_length)
        self._make_room(adapter_bytes + limits.cache_tokens * cache_bytes_per_token(model))
        try:
            # A tokenizer can't be used by two threads at once.
            engine = start_engine(model, copy.deepcopy(base.tokenizer), limits)
        except ValueError as error:
            raise ModelLoadError(
                f"{_name(ref)}: the memory budget of {self._budget:,} bytes is too small: {error}"
            ) from error
        log.info("started %s for %s: cache of %d MiB", engine.name, _name(ref), engine.cache_bytes >> 20)
        if engine.reason is not None:
            log.warning("%s is served by %s, which is slow, because %s", _name(ref), engine.name, engine.reason)
        loaded = _Loaded(engine, base, adapter_bytes + engine.cache_bytes, users=1)
        with self._changed:
            self._loaded[ref] = loaded
        return loaded

    def _base(self, ref: ModelRef) -> _Base:
        """Return the base model, and load it unless an engine has it loaded."""
        base = self._bases.get(ref)
        if base is not None:
            return base
        estimate = loaded_bytes(ref, self._device)
        if estimate > self._budget:
            raise ModelLoadError(
                f"{_name(ref)}: the model needs about {estimate:,} bytes; the memory budget is {self._budget:,} bytes"
            )
        self._make_room(estimate)
        model, tokenizer = load(ref, self._device)
        base = _Base(model, tokenizer, adapters.tensor_bytes(model))
        log.info("loaded the weights of %s: %d MiB", _name(ref), base.bytes >> 20)
        with self._changed:
            self._bases[ref] = base
        return base

    def _make_room(self, needed: int) -> None:
        """Close the least recently used engines until `needed` bytes fit. Waits for engines that are borrowed."""
        while True:
            with self._changed:
                if not self._loaded or self._bytes() + needed <= self._budget:
                    return
                ref, oldest = next(iter(self._loaded.items()))
                # It stays in the table until nobody borrows it. New borrowers wait, or it might never be idle.
                oldest.retiring = True
                while oldest.users:
                    self._changed.wait()
                self._loaded.pop(ref, None)
            log.info("closing the engine of %s to make room", _name(ref))
            oldest.engine.close()
            del oldest
            gc.collect()  # an engine and its batcher form a reference cycle
            if self._device == "cuda":
                torch.cuda.empty_cache()
            with self._changed:
                self._changed.notify_all()

    def _bytes(self) -> int:
        weights = sum(base.bytes for base in self._bases.values())
        return weights + sum(loaded.bytes for loaded in self._loaded.values())


def _name(ref: ModelRef) -> str:
    """Return the model's name in log lines and errors, without the folders in which its files are."""
    base = ref.label if ref.bitsandbytes is None else f"{ref.label} in {ref.bitsandbytes} bits"
    return base if ref.adapter is None else f"{Path(ref.adapter).name} over {base}"


def _default_budget(device: str) -> int:
    if device == "cuda":
        return int(0.85 * torch.cuda.mem_get_info()[1])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
