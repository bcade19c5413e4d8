"""A client as the documentation describes it: it repeats requests that got no answer, under the same key."""

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

PATIENCE_SECONDS = 1800.0
"""How long a request is repeated before the run fails."""
MAX_PAUSE_SECONDS = 1.0


class Client:
    """Used by several threads. `problems` lists every answer that a client must never get."""

    def __init__(self, urls: list[str], key: str) -> None:
        self.problems: list[str] = []
        self.sent_again: Counter[str] = Counter()
        self.accepted: dict[uuid.UUID, str] = {}
        """The name of the expected result, by the id of each accepted job."""
        self.uploads: list[Upload] = []
        self._urls = urls
        self._lock = threading.Lock()
        # one connection per request: a connection to a killed process must not be reused
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=30, limits=limits)

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send the request to one of the API processes, and repeat it until the answer is neither 429 nor 503."""
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

    def submit(self, submission: Submission) -> list[uuid.UUID]:
        headers = {"Idempotency-Key": submission.idempotency_key, **({"Prefer": "wait=2"} if submission.wait else {})}
        response = self.request("POST", PATHS[submission.kind], json=submission.body, headers=headers)
        if response.status_code not in (200, 202):
            self.problems.append(f"{submission.kind}: {response.status_code} {response.text[:300]}")
            return []
        body = response.json()
        ids = [uuid.UUID(id) for id in (body["job_ids"] if submission.kind == JobKind.GENERATION else [body["id"]])]
        with self._lock:
            self.accepted.update(zip(ids, submission.results, strict=True))
        return ids

    def upload(self, upload: Upload) -> None:
        rows = "\n".join(map(json.dumps, upload.rows)).encode()
        form = {"data": {"name": upload.name, "test_fraction": "0.5"}, "files": {"file": ("rows.jsonl", rows)}}
        response = self.request("POST", "/v1/datasets", **form)
        # 409 answers a request that was repeated although the first one had succeeded
        if response.status_code not in (201, 409):
            self.problems.append(f"the upload {upload.name}: {response.status_code} {response.text[:300]}")
        if upload.deleted:
            [dataset] = [item for item in self.stored_datasets() if item["name"] == upload.name] or [
                {"id": uuid.uuid4()}
            ]
            response = self.request("DELETE", f"/v1/datasets/{dataset['id']}")
            if response.status_code not in (204, 404):
                self.problems.append(f"the deletion of {upload.name}: {response.status_code} {response.text[:300]}")
        with self._lock:
            self.uploads.append(upload)

    def stored_datasets(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        after: dict[str, str] = {}
        while True:
            page = self.request("GET", "/v1/datasets", params={"limit": 100} | after).json()
            items += page["items"]
            if page["next"] is None:
                return items
            after = {"after": page["next"]}
