"""A worker's Prometheus metrics over HTTP: the counters of `pagewright.telemetry`, and the state of its engines."""

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
"""Number of ports to try, so that several workers on one machine can share one setting."""


def serve(host: str, first_port: int, pool: "ModelPool | None") -> int:
    """Serve `/metrics` on the first free port from `first_port` on, until the process ends. Returns the port.

    Raises OSError if none of 32 ports is free, or if `host` is not an address of this machine.
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
            log.info("metrics are served at http://%s:%d/metrics", host, port)
            break
    return port


class EngineCollector(Collector):
    """Reads the statistics of the model pool at each scrape. Values are sums over all loaded engines."""

    def __init__(self, pool: "ModelPool") -> None:
        self._pool = pool

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        from models.loading.loader import gpu_memory  # imports torch, which a worker with a pool has loaded

        pool = self._pool.statistics()
        for name, value, help in (
            ("pagewright_engines", pool.models, "Loaded engines."),
            ("pagewright_engine_slots", pool.slots, "Number of requests that the engines' batches have room for."),
            ("pagewright_engine_running_requests", pool.running, "Requests that the engines are generating."),
            ("pagewright_engine_waiting_requests", pool.waiting, "Requests that wait for room in a batch."),
            ("pagewright_engine_cache_bytes", pool.cache_bytes, "Memory allocated for the engines' caches, in bytes."),
            (
                "pagewright_engine_cache_used_bytes",
                pool.cache_used_bytes,
                "Part of the caches that holds tokens, in bytes.",
            ),
            ("pagewright_model_memory_bytes", pool.bytes, "Memory of weights, adapters and caches, in bytes."),
            (
                "pagewright_model_memory_budget_bytes",
                pool.budget_bytes,
                "Limit for weights, adapters and caches, in bytes.",
            ),
        ):
            yield GaugeMetricFamily(name, help, value)
        used = GaugeMetricFamily("pagewright_gpu_memory_used_bytes", "GPU memory in use, in bytes.", labels=["gpu"])
        total = GaugeMetricFamily("pagewright_gpu_memory_bytes", "Total GPU memory, in bytes.", labels=["gpu"])
        for number, (used_bytes, total_bytes) in enumerate(gpu_memory()):
            used.add_metric([str(number)], used_bytes)
            total.add_metric([str(number)], total_bytes)
        yield from (used, total)
