"""Loaded models, each with its engine, within a memory budget: the least recently used goes first."""

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from models.batching import EngineLimits
from models.engine import Engine
from models.loading import ModelLoadError, ModelRef, default_device, describe, load

log = logging.getLogger(__name__)

CACHE_SHARE = 0.3
"""Of the budget, what one engine's cache may take: room stays for the weights, and for a second model."""


@dataclass
class _Loaded:
    engine: Engine
    bytes: int
    users: int = 0
    retiring: bool = False


@dataclass(frozen=True)
class PoolStatistics:
    models: int
    bytes: int
    budget_bytes: int


class ModelPool:
    """Gives out engines by model. All methods may be called from any thread."""

    def __init__(self, memory_budget_bytes: int | None = None, device: str | None = None) -> None:
        """`memory_budget_bytes` bounds weights and caches together; the default is 0.85 of the GPU, or half of RAM."""
        self._device = device or default_device()
        self._budget = memory_budget_bytes or _default_budget(self._device)
        self._loaded: OrderedDict[ModelRef, _Loaded] = OrderedDict()  # the least recently used first
        self._loading: set[ModelRef] = set()
        self._changed = threading.Condition()
        self._load_lock = threading.Lock()

    @contextmanager
    def lease(self, ref: ModelRef) -> Iterator[Engine]:
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
            return PoolStatistics(len(self._loaded), self._bytes(), self._budget)

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
                    log.warning("the engine of %s died; loading the model again", ref.location)
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
        estimate = _loaded_bytes(describe(ref).weight_bytes, self._device)
        if estimate > self._budget:
            raise ModelLoadError(
                f"{ref.location}: the model takes about {estimate:,} bytes, of {self._budget:,} there are for models"
            )
        self._make_room(estimate)
        model, tokenizer = load(ref, self._device)
        weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
        cache = min(int(CACHE_SHARE * self._budget), max(self._budget - weights, 0))
        engine = Engine(model, tokenizer, EngineLimits.for_model(model, cache))
        log.info("loaded %s: weights %d MiB, cache %d MiB", ref.location, weights >> 20, engine.cache_bytes >> 20)
        loaded = _Loaded(engine, weights + engine.cache_bytes, users=1)
        self._make_room(loaded.bytes)
        with self._changed:
            self._loaded[ref] = loaded
        return loaded

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
            log.info("unloading %s to make room", ref.location)
            oldest.engine.close()
            del oldest
            if self._device == "cuda":
                torch.cuda.empty_cache()
            with self._changed:
                self._changed.notify_all()

    def _bytes(self) -> int:
        return sum(loaded.bytes for loaded in self._loaded.values())


def _default_budget(device: str) -> int:
    if device == "cuda":
        return int(0.85 * torch.cuda.mem_get_info()[1])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _loaded_bytes(stored_bytes: int, device: str) -> int:
    """What stored weights come to in memory: on the CPU they are widened to float32, from 16 bits at the least."""
    return 2 * stored_bytes if device == "cpu" else stored_bytes
