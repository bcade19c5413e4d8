"""A client of a running server: it asks, asks again while the server is away, and reads the answer."""

import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

import httpx
import typer
from pydantic import BaseModel, ValidationError

RETRY_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
"""How long a server that answered before may be away: a restart of the API does not end the waiting."""

ANSWER_SECONDS = 30.0
COMING_BACK = (502, 503, 504)
"""What the server, or a proxy before it, answers while a part of it restarts."""


class ServerError(Exception):
    """The server can't be reached, or refuses; says so in words for the person at the terminal."""


class JobError(BaseModel):
    type: str
    message: str


class Job(BaseModel):
    """What is used here of what the server says of any job."""

    id: str
    status: str
    attempt: int
    error: JobError | None
    percent_done: float | None
    remaining_seconds: float | None
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def over(self) -> bool:
        return self.status in ("succeeded", "failed", "cancelled")

    @property
    def state(self) -> str:
        """Its status in words, with the attempt if that is not the first."""
        return self.status if self.attempt <= 1 else f"{self.status}, attempt {self.attempt}"

    @property
    def ending(self) -> str:
        """How it ended, in words that follow its name, with the reason if it has one."""
        ended = "was cancelled" if self.status == "cancelled" else self.status
        return f"{ended}: {self.error.message} ({self.error.type})" if self.error else ended


Answer = TypeVar("Answer", bound=BaseModel)
Query = Mapping[str, str | int]


def connect(url: str, api_key: str) -> httpx.Client:
    """A client of the server at `url`, with the key if there is one. Raises typer.BadParameter for what is no URL."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        hint = "--url or PAGEWRIGHT_SERVER_URL"
        raise typer.BadParameter(f"{url!r} is no http:// or https:// address", param_hint=hint)
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return httpx.Client(base_url=parsed, headers=headers, timeout=ANSWER_SECONDS)


def get(client: httpx.Client, path: str, kind: type[Answer], query: Query | None = None) -> Answer:
    """What the server, which answered before, has at `path`. Raises ServerError if it is lost or refuses."""
    return read(send(client, client.build_request("GET", path, params=query), answered_before=True), kind)


def submit(
    client: httpx.Client, path: str, body: Mapping[str, Any], kind: type[Answer], *, answered_before: bool
) -> Answer:
    """Ask for a job by a POST of `body` as JSON. Raises ServerError if the server can't be reached or refuses.

    A connection that is lost after the request was sent is no reason to stop: sent again under the same
    Idempotency-Key, it finds the job that the first one may have made.
    """
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    message = client.build_request("POST", path, json=body, headers=headers)
    return read(send(client, message, answered_before=answered_before), kind)


def walk(
    client: httpx.Client, path: str, kind: type[Answer], *, limit: int = 100, answered_before: bool = True
) -> Iterator[Answer]:
    """The items of a list, page by page of `limit`. Raises ServerError if the server can't be reached or refuses."""
    query: dict[str, str | int] = {"limit": limit}
    while True:
        message = client.build_request("GET", path, params=query)
        response = send(client, message, answered_before=answered_before)
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


def send(client: httpx.Client, message: httpx.Request, *, answered_before: bool) -> httpx.Response:
    """The server's answer, asked for again and again for PATIENCE_SECONDS while it is away.

    Raises ServerError when they are over, and at once if nothing listens at an address that has not answered before:
    it is more likely wrong than restarting.
    """
    deadline = None
    while True:
        response = None
        try:
            response = client.send(message)
            if response.status_code not in COMING_BACK:
                return response
            trouble = f"answers with status {response.status_code}"
        except httpx.HTTPError as error:
            trouble = f"does not answer: {str(error) or type(error).__name__}"
            if not answered_before and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                raise ServerError(f"the server at {client.base_url} {trouble}") from None
        answered_before = True
        if deadline is None:
            deadline = time.monotonic() + PATIENCE_SECONDS
            typer.echo(f"pagewright: the server {trouble}; trying for up to {PATIENCE_SECONDS:.0f} seconds", err=True)
        elif time.monotonic() > deadline:
            if response is not None:
                return response
            raise ServerError(f"the server at {client.base_url} {trouble}")
        time.sleep(RETRY_SECONDS)


def read(response: httpx.Response, kind: type[Answer]) -> Answer:
    """The body of a success. Raises ServerError with the server's own words for anything else."""
    if not response.is_success:
        hint = "; PAGEWRIGHT_API_KEY holds the key" if response.status_code == 401 else ""
        raise ServerError(f"the server refuses ({response.status_code}): {_detail(response)}{hint}")
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
