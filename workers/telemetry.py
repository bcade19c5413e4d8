"""A worker's metrics over HTTP: what `pagewright.telemetry` counted, and what its engines hold at the moment."""

import errno
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, Metric, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from models.serving.pool import ModelPool

log = logging.getLogger(__name__)

PORTS = 32
"""How many workers of one machine find a port with one setting."""


def serve(host: str, first_port: int, pool: "ModelPool | None") -> int:
    """Serve `/metrics` on the first port from `first_port` on that is free, for as long as the process lives.

    Returns the port. Raises OSError if none of 32 is free, or the host is none of this machine's.
    """
    if pool is not None:
        REGISTRY.register(EngineCollector(pool))
    last_port = min(first_port + PORTS - 1, 65535)
    for port in range(first_port, last_port + 1):
        try:
            start_http_server(port, host)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port == last_port:
                raise
        else:
            log.info("metrics are at http://%s:%d/metrics", host, port)
            break
    return port


class EngineCollector(Collector):
    """Looks at the pool when it is asked; sums are over all loaded engines."""

    def __init__(self, pool: "ModelPool") -> None:
        self._pool = pool

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        from models.loading.loader import gpu_memory  # torch is there already where there is a pool

        found = self._pool.statistics()
        for name, value, help in (
            ("pagewright_engines", found.models, "Loaded engines."),
            ("pagewright_engine_slots", found.slots, "Requests that fit into the engines' batches."),
            ("pagewright_engine_running_requests", found.running, "Requests in the engines' batches."),
            ("pagewright_engine_waiting_requests", found.waiting, "Requests that wait for a place in a batch."),
            ("pagewright_engine_cache_bytes", found.cache_bytes, "Memory of the engines' caches."),
            ("pagewright_engine_cache_used_bytes", found.cache_used_bytes, "As much of it as requests have taken."),
            ("pagewright_model_memory_bytes", found.bytes, "Memory of weights, adapters and caches."),
            ("pagewright_model_memory_budget_bytes", found.budget_bytes, "As much as they may take."),
        ):
            yield GaugeMetricFamily(name, help, value)
        used = GaugeMetricFamily("pagewright_gpu_memory_used_bytes", "Taken by all processes.", labels=["gpu"])
        total = GaugeMetricFamily("pagewright_gpu_memory_bytes", "Memory of the GPU.", labels=["gpu"])
        for number, (taken, there) in enumerate(gpu_memory()):
            used.add_metric([str(number)], taken)
            total.add_metric([str(number)], there)
        yield from (used, total)
