"""docker-compose.yml, run without Docker: each of its commands as a local process, its services at local addresses."""

import os
import re
import subprocess
import sys
import tomllib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from redis import Redis

from pagewright.cli.up.parts import free_port, redis_server
from pagewright.settings import Settings
from tests.processes import LIMIT_SECONDS, answers, eventually
from tests.server import answer, finished

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


@pytest.fixture
def local(postgresql_url: str, redis: Redis, tmp_path: Path) -> dict[str, str]:
    """What stands in the compose file, and what takes its place on this machine."""
    redis.flushdb()
    address = redis.connection_pool.connection_kwargs
    return {
        SERVICES["api"]["environment"]["PAGEWRIGHT_DATABASE_URL"]: postgresql_url,
        "redis:6379": f"{address['host']}:{address['port']}",
        "0.0.0.0": "127.0.0.1",
        "8000": str(free_port()),
        "/data": str(tmp_path),
    }


def environment_of(service: str, local: dict[str, str]) -> dict[str, str]:
    """The service's environment and no other setting of Pagewright's."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PAGEWRIGHT_")}
    named = {}
    for name, value in SERVICES[service]["environment"].items():
        for remote, here in local.items():
            value = value.replace(remote, here)
        assert "@postgres" not in value
        assert "://redis:" not in value
        named[name] = value
    return {**inherited, **named}


def command_of(service: str) -> list[str]:
    program, *arguments = SERVICES[service]["command"]
    assert program == "pagewright"
    return [sys.executable, "-m", "pagewright", *arguments]


@pytest.mark.long
@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_the_services_do_the_main_job_together(profile: str, local: dict[str, str]) -> None:
    subprocess.run(command_of("migrate"), env=environment_of("migrate", local), check=True)
    with ExitStack() as stack:
        for service in ("api", f"worker-{profile}", f"build-worker-{profile}"):
            process = subprocess.Popen(command_of(service), env=environment_of(service, local))
            stack.callback(process.wait)
            stack.callback(process.terminate)
        api = environment_of("api", local)
        key = subprocess.run(
            [sys.executable, "-m", "pagewright", "keys", "create", "compose", "--role", "admin"],
            env=api,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        client = stack.enter_context(
            httpx.Client(
                base_url=f"http://127.0.0.1:{api['PAGEWRIGHT_PORT']}",
                headers={"Authorization": f"Bearer {key}"},
                timeout=LIMIT_SECONDS,
            )
        )
        eventually(lambda: is_ready(client), "readiness")
        body = {"model": "starter", "prompt": "Create a page titled 'One'.", "max_new_tokens": 30}
        job = finished(client, f"/v1/generations/{answer(client.post('/v1/generations', json=body), 202)['id']}")
        assert client.get(f"/v1/generations/{job['id']}/html").text == job["completion"]


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def test_redis_starts_with_the_options_that_compose_gives_it() -> None:
    _, *options = SERVICES["redis"]["command"]
    port = free_port()
    server = subprocess.Popen([redis_server(), "--port", str(port), *options], stdout=subprocess.DEVNULL)
    client = Redis(port=port, decode_responses=True)
    try:
        eventually(lambda: answers(client), "Redis")
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}
    finally:
        server.terminate()
        server.wait()


def test_every_setting_that_compose_names_exists() -> None:
    known = {f"PAGEWRIGHT_{name.upper()}" for name in Settings.model_fields}
    named = {name for service in SERVICES.values() for name in service.get("environment", {})}
    assert {name for name in named if name.startswith("PAGEWRIGHT_")} <= known


def test_a_worker_has_longer_to_stop_than_it_gives_its_jobs() -> None:
    for name in ("worker-cpu", "worker-gpu", "build-worker-cpu", "build-worker-gpu"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > Settings().shutdown_grace_seconds


def test_every_build_target_is_a_stage_of_the_dockerfile() -> None:
    stages = set(re.findall(r"^FROM .* AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    targets = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert targets <= stages


def test_the_images_install_dependencies_before_the_source_is_copied() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    [folders] = re.findall(r"^RUN mkdir (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {name.removesuffix("*") for name in package["include"]} == set(folders.split())
