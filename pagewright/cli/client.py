"""HTTP requests to a running server, which are sent again while the server restarts."""

import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

import httpx
import typer
from pydantic import BaseModel, ValidationError

RETRY_SECONDS = 1.0
RETRY_LIMIT_SECONDS = 60.0
"""How long to retry while a server that answered before does not answer, for example while the API restarts."""

TIMEOUT_SECONDS = 30.0
RETRIED_STATUSES = (502, 503, 504)
"""Statuses that the server, or a proxy in front of it, returns while a part of it restarts."""


class ServerError(Exception):
    """The server does not answer, or refuses a request. The message is for the user of the command."""


class JobError(BaseModel):
    type: str
    message: str


class Job(BaseModel):
    """The fields of the server's jobs that commands use."""

    id: str
    status: str
    attempt: int
    error: JobError | None
    percent_done: float | None
    remaining_seconds: float | None
    started_at: datetime | None
    finished_at: datetime | None
    waiting_for: str | None = None  # absent in lists

    @property
    def over(self) -> bool:
        return self.status in ("succeeded", "failed", "cancelled")

    @property
    def state(self) -> str:
        """The status, with the number of the attempt from the second on, and what the job waits for."""
        state = self.status if self.attempt <= 1 else f"{self.status}, attempt {self.attempt}"
        return f"{state}: {self.waiting_for}" if self.waiting_for else state

    @property
    def ending(self) -> str:
        """How the job ended, as a predicate: "was cancelled", or "failed: message (type)"."""
        ended = "was cancelled" if self.status == "cancelled" else self.status
        return f"{ended}: {self.error.message} ({self.error.type})" if self.error else ended


Answer = TypeVar("Answer", bound=BaseModel)
Query = Mapping[str, str | int]


def connect(url: str, api_key: str) -> httpx.Client:
    """Return a client for the server at `url`; an empty `api_key` sends no Authorization header.

    Raises typer.BadParameter if `url` is not an http:// or https:// URL.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        hint = "--url or PAGEWRIGHT_SERVER_URL"
        raise typer.BadParameter(f"{url!r} is not an http:// or https:// address", param_hint=hint)
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return httpx.Client(base_url=parsed, headers=headers, timeout=TIMEOUT_SECONDS)


def get(client: httpx.Client, path: str, kind: type[Answer], query: Query | None = None) -> Answer:
    """GET `path` from a server that answered before. Raises ServerError if it does not answer or refuses."""
    return read(send(client, client.build_request("GET", path, params=query), answered_before=True), kind)


def submit(
    client: httpx.Client, path: str, body: Mapping[str, Any], kind: type[Answer], *, answered_before: bool
) -> Answer:
    """Create a job with a POST of `body` as JSON. Raises ServerError if the server does not answer or refuses.

    A request whose response was lost is sent again with the same Idempotency-Key, so that it creates one job only.
    """
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    request = client.build_request("POST", path, json=body, headers=headers)
    return read(send(client, request, answered_before=answered_before), kind)


def walk(
    client: httpx.Client, path: str, kind: type[Answer], *, limit: int = 100, answered_before: bool = True
) -> Iterator[Answer]:
    """Yield the items of a list, in pages of `limit`. Raises ServerError if the server does not answer or refuses."""
    query: dict[str, str | int] = {"limit": limit}
    while True:
        request = client.build_request("GET", path, params=query)
        response = send(client, request, answered_before=answered_before)
        answered_before = True
        page = read(response, _Page)
        for item in page.items:
            yield _validated(response, kind, item)
        if page.next is None:
            return
        query["after"] = page.next


class _Page(BaseModel):
    items: list[dict[str, Any]]
    next: str | int | None


def send(client: httpx.Client, request: httpx.Request, *, answered_before: bool) -> httpx.Response:
    """Send a request, and send it again for up to RETRY_LIMIT_SECONDS while the server does not answer.

    Raises ServerError after that time. Raises it at once if the connection is refused and the server has not
    answered before: then the address is more likely wrong than the server restarting.
    """
    deadline = None
    while True:
        response = None
        try:
            response = client.send(request)
            if response.status_code not in RETRIED_STATUSES:
                return response
            trouble = f"answers with status {response.status_code}"
        except httpx.HTTPError as error:
            trouble = f"does not answer: {str(error) or type(error).__name__}"
            if not answered_before and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                raise ServerError(f"the server at {client.base_url} {trouble}") from None
        answered_before = True
        if deadline is None:
            deadline = time.monotonic() + RETRY_LIMIT_SECONDS
            typer.echo(
                f"pagewright: the server {trouble}; retrying for up to {RETRY_LIMIT_SECONDS:.0f} seconds", err=True
            )
        elif time.monotonic() > deadline:
            if response is not None:
                return response
            raise ServerError(f"the server at {client.base_url} {trouble}")
        time.sleep(RETRY_SECONDS)


def read(response: httpx.Response, kind: type[Answer]) -> Answer:
    """Return the body of a successful response. Raises ServerError with the server's error message otherwise."""
    if not response.is_success:
        hint = "; set PAGEWRIGHT_API_KEY to a valid API key" if response.status_code == 401 else ""
        raise ServerError(f"the server refused the request ({response.status_code}): {_detail(response)}{hint}")
    try:
        body = response.json()
    except ValueError:
        body = None
    return _validated(response, kind, body)


def _validated(response: httpx.Response, kind: type[Answer], content: Any) -> Answer:
    try:
        return kind.model_validate(content)
    except ValidationError:
        raise ServerError(f"what answers at {response.url} is not a Pagewright server of this version") from None


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase
