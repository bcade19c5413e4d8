"""What a starting server answers at /readyz."""

from dataclasses import dataclass, field

import httpx

START_SECONDS = 300
"""How long a server may take to become ready."""


@dataclass(frozen=True)
class Readiness:
    ready: bool = False
    api: bool = False
    redis: bool = False
    workers: dict[str, int] = field(default_factory=dict)
    """Live workers of each queue."""

    detail: str = "the API does not answer"


def check(address: str) -> Readiness:
    """Ask the server at `address` whether it is ready."""
    try:
        response = httpx.get(f"{address}/readyz", timeout=5)
        body = response.json()
        return Readiness(response.status_code == 200, True, body["redis"], body["workers"], response.text)
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return Readiness()
