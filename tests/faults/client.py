"""A client that does what the documentation asks of one: it sends again, under the same key, what got no answer."""

import json
import random
import threading
import time
import uuid
from collections import Counter
from typing import Any

import httpx

from db.vocabulary import JobKind
from tests.faults.work import PATHS, Submission, Upload

PATIENCE_SECONDS = 300.0
MAX_PAUSE_SECONDS = 1.0


class Client:
    """Shared by threads. `problems` has every answer that it can't live with."""

    def __init__(self, urls: list[str], key: str) -> None:
        self.problems: list[str] = []
        self.sent_again: Counter[str] = Counter()
        self.accepted: dict[uuid.UUID, str] = {}
        """Each job that was accepted, and the name of the result that it must have."""
        self.uploads: list[Upload] = []
        self._urls = urls
        self._lock = threading.Lock()
        # a connection each: what is left of one to a killed process must not be in the way
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=30, limits=limits)

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask one API process or the other, again and again, until there is an answer that is final."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            pause = 0.2
            try:
                response = self._http.request(method, random.choice(self._urls) + path, **more)
            except httpx.TransportError as error:
                why = type(error).__name__
            else:
                if response.status_code not in (429, 503):
                    if response.status_code >= 500:
                        self.problems.append(f"{method} {path}: {response.status_code} {response.text[:300]}")
                    return response
                why = str(response.status_code)
                if "Retry-After" not in response.headers or "problem+json" not in response.headers["Content-Type"]:
                    self.problems.append(f"{method} {path}: a {why} without Retry-After or problem document")
                pause = min(float(response.headers.get("Retry-After", 1)), MAX_PAUSE_SECONDS)
            with self._lock:
                self.sent_again[why] += 1
            if time.monotonic() > deadline:
                raise TimeoutError(f"{method} {path}: no answer but {why} for {PATIENCE_SECONDS} seconds")
            time.sleep(pause)

    def submit(self, asked: Submission) -> list[uuid.UUID]:
        headers = {"Idempotency-Key": asked.idempotency_key, **({"Prefer": "wait=2"} if asked.wait else {})}
        response = self.request("POST", PATHS[asked.kind], json=asked.body, headers=headers)
        if response.status_code not in (200, 202):
            self.problems.append(f"{asked.kind}: {response.status_code} {response.text[:300]}")
            return []
        body = response.json()
        ids = [uuid.UUID(id) for id in (body["job_ids"] if asked.kind == JobKind.GENERATION else [body["id"]])]
        with self._lock:
            self.accepted.update(zip(ids, asked.results, strict=True))
        return ids

    def upload(self, asked: Upload) -> None:
        rows = "\n".join(map(json.dumps, asked.rows)).encode()
        form = {"data": {"name": asked.name, "test_fraction": "0.5"}, "files": {"file": ("rows.jsonl", rows)}}
        response = self.request("POST", "/v1/datasets", **form)
        # 409 is the answer to a request that was sent again although the first had gone through
        if response.status_code not in (201, 409):
            self.problems.append(f"the upload {asked.name}: {response.status_code} {response.text[:300]}")
        if asked.deleted:
            [dataset] = [item for item in self.stored_datasets() if item["name"] == asked.name] or [
                {"id": uuid.uuid4()}
            ]
            response = self.request("DELETE", f"/v1/datasets/{dataset['id']}")
            if response.status_code not in (204, 404):
                self.problems.append(f"the deletion of {asked.name}: {response.status_code} {response.text[:300]}")
        with self._lock:
            self.uploads.append(asked)

    def stored_datasets(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        after: dict[str, str] = {}
        while True:
            page = self.request("GET", "/v1/datasets", params={"limit": 100} | after).json()
            items += page["items"]
            if page["next"] is None:
                return items
            after = {"after": page["next"]}
