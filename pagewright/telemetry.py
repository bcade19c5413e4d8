"""What a process counts of its own work, for Prometheus, which sums it over processes.

What holds for all of them at once (how many jobs wait, say) the API reads from the database: see
`api.routes.metrics`. What a worker's engines hold is in `workers.telemetry`.
"""

from collections.abc import Iterable

from prometheus_client import Counter, Histogram

REQUESTS = Counter("pagewright_http_requests", "HTTP requests that were answered.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "pagewright_http_request_duration_seconds",
    "From a request to the end of its answer; but for those that the client asked to be held.",
    ["method", "route"],
)
JOBS_SUBMITTED = Counter("pagewright_jobs_submitted", "Jobs that were accepted.", ["kind"])
JOBS_ENDED = Counter("pagewright_jobs_ended", "Jobs that came to their end.", ["kind", "status"])
CLAIM_SECONDS = Histogram(
    "pagewright_claim_latency_seconds",
    "From a job's submission to its first claim by a worker.",
    ["kind"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 900, 3600, 14400, 86400),
)
PROMPT_TOKENS = Counter("pagewright_prompt_tokens", "Tokens of the prompts of finished requests.", ["kind"])
COMPLETION_TOKENS = Counter("pagewright_completion_tokens", "Tokens that finished requests generated.", ["kind"])
LEASES_LOST = Counter("pagewright_leases_lost", "Jobs that a living worker lost, as it could not extend its lease.")
ATTEMPTS_FAILED = Counter(
    "pagewright_attempts_failed", "Attempts that a living worker gave up (a dead engine, say).", ["kind"]
)
RECONCILED = Counter(
    "pagewright_reconciler_actions",
    "Jobs of silent workers that were queued again, failed or cancelled; and jobs whose lost message was resent.",
    ["action", "kind"],
)


def start_series(kinds: Iterable[str], final_statuses: Iterable[str]) -> None:
    """Begin every series of these kinds of job at 0: an alert on an increase misses the first of a new series."""
    for kind in kinds:
        JOBS_SUBMITTED.labels(kind)
        ATTEMPTS_FAILED.labels(kind)
        for action in ("requeued", "failed", "cancelled", "resent"):
            RECONCILED.labels(action, kind)
        for status in final_statuses:
            JOBS_ENDED.labels(kind, status)
