"""Secrets planted in a running installation appear nowhere else, whatever fails."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import create_engine, make_url, select

from db.tables.base import Table
from models.loading.model_files import BUNDLED_MODELS
from pagewright.cli.up.parts import free_port
from tests.api.datasets.helpers import ROWS
from tests.api.helpers import REQUEST, Upload
from tests.hub import serve_hub
from tests.processes import COMMAND, eventually, running

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB_TOKEN = "hf_PlantedHubTokenPlantedHubToken"
DATABASE_PASSWORD = "PlantedDatabasePassword"
STORE_SECRET = "PlantedStoreSecret"
METRICS_TOKEN = "PlantedMetricsToken"
GUESSED_KEY = "pw_PlantedGuessedKeyPlantedGuessedKeyPlantedGuess"


@pytest.fixture
def environment(empty_postgresql: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    url = make_url(empty_postgresql).set(password=DATABASE_PASSWORD)  # the server does not check it
    ignored = shutil.ignore_patterns("*.py", "__pycache__")
    shutil.copytree(BUNDLED_MODELS / "starter", tmp_path / "hub", ignore=ignored)
    with serve_hub("some/gone", tmp_path / "hub", COMMIT) as hub:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PAGEWRIGHT_")}
        yield kept | {
            "HF_ENDPOINT": hub,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path / "huggingface"),
            "HF_TOKEN": HUB_TOKEN,
            "AWS_SECRET_ACCESS_KEY": STORE_SECRET,
            "PAGEWRIGHT_DATABASE_URL": url.render_as_string(hide_password=False),
            "PAGEWRIGHT_DATA_DIR": str(tmp_path / "data"),
            "PAGEWRIGHT_PORT": str(free_port()),
            "PAGEWRIGHT_LOG_LEVEL": "DEBUG",
            "PAGEWRIGHT_METRICS_TOKEN": METRICS_TOKEN,
            "PAGEWRIGHT_MAX_ATTEMPTS": "1",
        }


@contextmanager
def running_up(environment: dict[str, str], log: Path) -> Iterator[psutil.Process]:
    """`pagewright up` with the output of all its parts in the file `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen([*COMMAND, "up"], env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            eventually(lambda: b"Ctrl-C stops it." in log.read_bytes(), "a running server")
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


@pytest.mark.long
def test_planted_secrets_appear_nowhere_else(environment: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    seen: list[str] = []
    with running_up(environment, log) as up:
        [admin] = re.findall(r"Admin key \(shown only once\): (\S+)", log.read_text())
        [redis] = {part.environ()["PAGEWRIGHT_REDIS_URL"] for part in up.children() if "worker" in part.cmdline()}
        redis_password = str(make_url(redis).password)
        with httpx.Client(base_url=f"http://127.0.0.1:{environment['PAGEWRIGHT_PORT']}", timeout=60) as client:
            client.event_hooks["response"] = [lambda response: seen.append(shown(response))]
            guess(client)
            client.headers["Authorization"] = f"Bearer {admin}"
            run_jobs(client, tmp_path / "hub")
            read_everything(client)
            assert client.get("/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"}).is_success
    user = next(re.findall(r'"key":"(pw_[^"]+)"', text)[0] for text in seen if '"key":' in text)
    written = {"the responses": "\n".join(seen), "the log": log.read_text(), "the database": rows(environment)}
    for file in (tmp_path / "data").rglob("*"):
        if file.is_file():
            written[str(file)] = file.read_bytes().decode("latin-1")
    allowed = {("the log", admin): 1, ("the responses", user): 1}  # where each may appear, once
    for secret in (HUB_TOKEN, DATABASE_PASSWORD, STORE_SECRET, METRICS_TOKEN, GUESSED_KEY, redis_password, admin, user):
        for where, text in written.items():
            assert text.count(secret) == allowed.get((where, secret), 0), f"{secret} is in {where}"


def shown(response: httpx.Response) -> str:
    response.read()
    return f"{response.status_code} {response.headers} {response.text}"


def guess(client: httpx.Client) -> None:
    """Send keys where they do not belong."""
    for request in (
        {"headers": {"Authorization": f"Bearer {GUESSED_KEY}"}},
        {"headers": {"Authorization": f"Basic {GUESSED_KEY}", "X-Api-Key": GUESSED_KEY}},
        {"params": {"key": GUESSED_KEY}},
        {"headers": {"Cookie": f"key={GUESSED_KEY}"}},
    ):
        assert client.get("/v1/jobs", **request).status_code == 401  # type: ignore[arg-type]


def run_jobs(client: httpx.Client, on_hub: Path) -> None:
    """Submit jobs of each kind. Most of them fail, since the hub loses the weights of `some/gone`."""
    client.post("/v1/api-keys", json={"name": "a user"})
    hub = {"source": "hub", "revision": COMMIT}
    for name, status in (("some/gone", 201), ("some/unheard-of", 422)):
        answer = client.post("/v1/models", json=hub | {"name": name, "location": name})
        assert answer.status_code == status, answer.text
    (on_hub / "model.safetensors").unlink()
    rows = "\n".join(map(json.dumps, ROWS)).encode()
    client.post("/v1/datasets", **Upload({"name": "pages", "test_fraction": "0.5"}, "pages.jsonl", rows).request)
    client.post("/v1/datasets", files={"name": (None, "x"), "hub": (None, "a/b"), "revision": (None, COMMIT)})
    client.post("/v1/models", json={"name": "x", "source": "local", "location": GUESSED_KEY[:3]})
    jobs = []
    for model in ("starter", "some/gone"):
        jobs.append(client.post("/v1/generations", json=REQUEST | {"model": model, "max_new_tokens": 2}))
        jobs.append(client.post("/v1/evaluations", json={"model": model, "dataset": "pages", "limit": 1}))
        if model != "starter":
            jobs.append(client.post("/v1/pulls", json={"model": model}))
            jobs.append(client.post("/v1/fine-tunes", json={"model": model, "dataset": "pages", "name": f"of-{model}"}))
    ids = [job.json()["id"] for job in jobs]
    for job in ids:
        eventually(lambda job=job: client.get(f"/v1/jobs/{job}").json()["finished_at"], f"{job} finished")  # type: ignore[misc]
    statuses = [client.get(f"/v1/jobs/{job}").json()["status"] for job in ids]
    assert (statuses.count("succeeded"), statuses.count("failed")) == (2, len(ids) - 2), statuses


def read_everything(client: httpx.Client) -> None:
    paths = [path for path in client.get("/openapi.json").json()["paths"] if "{" not in path and "compare" not in path]
    for path in ["/docs", *paths]:
        items = client.get(path, params={"dataset": "pages"} if "leaderboard" in path else {})
        if items.status_code == 200 and "application/json" in items.headers["Content-Type"]:
            for item in items.json().get("items", []):
                client.get(f"{path}/{item.get('id')}")


def rows(environment: dict[str, str]) -> str:
    engine = create_engine(environment["PAGEWRIGHT_DATABASE_URL"])
    with engine.connect() as connection:
        rows = [str(row) for table in Table.metadata.sorted_tables for row in connection.execute(select(table))]
    engine.dispose()
    return "\n".join(rows)


URLS = {
    "DATABASE_URL": [
        "postgresql://user:{}@127.0.0.1:1/x",
        "postgresql://user:{}@127.0.0.1:port/x",
        "postgresql://user:{}#{}@127.0.0.1/x",
        "postgresql//user:{}@127.0.0.1/x",
        "mysql://user:{}@127.0.0.1/x",
        "{}",
    ],
    "REDIS_URL": [
        "redis://:{}@127.0.0.1:1/0",
        "redis://:{}@127.0.0.1:port/0",
        "redis://:{}#{}@127.0.0.1:1/0",
        "redis//:{}@127.0.0.1/0",
        "{}",
    ],
    "API_KEY": ["{} {}", "é{}"],
    "METRICS_TOKEN": ["{} {}", "é{}"],
}


@pytest.mark.parametrize(("name", "url"), [(name, url) for name, urls in URLS.items() for url in urls])
def test_an_invalid_setting_is_not_repeated(name: str, url: str, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PAGEWRIGHT_")} | {
        f"PAGEWRIGHT_{name}": url.replace("{}", DATABASE_PASSWORD),
        "PAGEWRIGHT_DATA_DIR": str(tmp_path),
    }
    command = {"REDIS_URL": ["up"], "API_KEY": ["evaluate", "starter", "pages"]}.get(name, ["migrate"])
    if name == "REDIS_URL":
        environment["PAGEWRIGHT_PORT"] = str(free_port())
    process = subprocess.Popen(
        [*COMMAND, *command], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        printed, _ = process.communicate(timeout=6)
    except subprocess.TimeoutExpired:  # the command waits for Redis
        process.terminate()
        printed, _ = process.communicate()
    printed = "\n".join(line for line in printed.splitlines() if "Admin key" not in line)
    assert printed.strip()
    assert DATABASE_PASSWORD not in printed.replace("\n", "")


def test_the_error_for_an_unavailable_database_has_no_secret(tmp_path: Path) -> None:
    url = f"postgresql://user:{DATABASE_PASSWORD}@127.0.0.1:1/x"
    port = free_port()
    log = tmp_path / "log"
    with running("api", log=log, output=log, database_url=url, port=port, log_level="DEBUG"):
        base = f"http://127.0.0.1:{port}"
        eventually(lambda: answers(base), "the API")
        texts = [
            httpx.get(f"{base}{path}", headers={"Authorization": "Bearer x"}).text for path in ("/v1/jobs", "/readyz")
        ]
    assert "the database is not available" in texts[0]
    assert DATABASE_PASSWORD not in "".join(texts) + log.read_text()
    assert "connection" in log.read_text()


def answers(base: str) -> bool:
    try:
        return httpx.get(f"{base}/healthz").is_success
    except httpx.HTTPError:
        return False
