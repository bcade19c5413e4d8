"""Prometheus counters and histograms of each process. Prometheus sums them over the processes.

Gauges are elsewhere: those of the whole server (queued jobs, live workers) in `api.routes.metrics`, those of a
worker's engines in `workers.telemetry`.
"""

from collections.abc import Iterable

from prometheus_client import Counter, Histogram

REQUESTS = Counter("pagewright_http_requests", "HTTP requests that the API answered.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "pagewright_http_request_duration_seconds",
    "Time from a request to the end of its response. Requests that wait for a job (Prefer: wait, events) are excluded.",
    ["method", "route"],
)
JOBS_SUBMITTED = Counter("pagewright_jobs_submitted", "Jobs that the API accepted.", ["kind"])
JOBS_ENDED = Counter("pagewright_jobs_ended", "Jobs that succeeded, failed or were cancelled.", ["kind", "status"])
CLAIM_SECONDS = Histogram(
    "pagewright_claim_latency_seconds",
    "Time from the submission of a job to its first claim by a worker.",
    ["kind"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 900, 3600, 14400, 86400),
)
PROMPT_TOKENS = Counter("pagewright_prompt_tokens", "Prompt tokens of finished requests.", ["kind"])
COMPLETION_TOKENS = Counter("pagewright_completion_tokens", "Generated tokens of finished requests.", ["kind"])
LEASES_LOST = Counter(
    "pagewright_leases_lost", "Jobs that a running worker lost because it did not extend its lease in time."
)
ATTEMPTS_FAILED = Counter(
    "pagewright_attempts_failed",
    "Attempts that a running worker gave up, for example when an engine died.",
    ["kind"],
)
RECONCILED = Counter(
    "pagewright_reconciler_actions",
    "Jobs of lost workers that were queued again, failed or cancelled, and jobs whose lost message was sent again.",
    ["action", "kind"],
)


def start_series(kinds: Iterable[str], final_statuses: Iterable[str]) -> None:
    """Create the series of every kind of job with the value 0.

    Prometheus sees no increase when a series appears with the value 1, so an alert would miss the first event.
    """
    for kind in kinds:
        JOBS_SUBMITTED.labels(kind)
        ATTEMPTS_FAILED.labels(kind)
        for action in ("requeued", "failed", "cancelled", "resent"):
            RECONCILED.labels(action, kind)
        for status in final_statuses:
            JOBS_ENDED.labels(kind, status)
