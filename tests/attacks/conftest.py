"""The API as it is deployed: a separate process with a socket."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from db.queries import api_keys, models
from db.session import Database
from db.tables.api_keys import ApiKey
from db.vocabulary import Role
from pagewright.cli.up.parts import free_port
from pagewright.settings import get_settings
from tests.hub import serve_hub
from tests.processes import eventually, running

HUB_COMMIT = "0" * 40


@dataclass(frozen=True)
class Api:
    """An API process with the test's database, and an admin's key."""

    database_url: str
    port: int
    pid: int
    key: ApiKey
    secret: str

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.address, headers={"Authorization": f"Bearer {self.secret}"}, timeout=60)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of `some/rows`, the only dataset on the hub that processes started by the test use.

    Questions about models have no answer there, so that any of them can be registered.
    """
    folder = tmp_path / "hub"
    folder.mkdir()
    with serve_hub("some/rows", folder, HUB_COMMIT, "dataset", refused="/api/models/", refusal=(503, "")) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        yield folder


@pytest.fixture
def api(database: Database) -> Iterator[Api]:
    """An API process with the test's own database."""
    with running_api(get_settings().database, get_settings().data_dir) as api:
        yield api


@pytest.fixture(scope="module")
def lasting_api(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One API process on SQLite for all tests of a file."""
    folder = tmp_path_factory.mktemp("attacked")
    with running_api(f"sqlite:///{shutil.copy(migrated_sqlite, folder)}", folder) as api:
        yield api


@contextmanager
def running_api(database_url: str, data_dir: Path, **settings: Any) -> Iterator[Api]:
    port = free_port()
    database = Database(database_url)
    with database.write() as session:
        models.ensure_bundled(session)
        key, secret = api_keys.create(session, "the attacker's", Role.ADMIN)
    database.engine.dispose()
    with running("api", database_url=database_url, data_dir=data_dir, port=port, **settings) as process:
        eventually(lambda: _answers(port), "the API")
        yield Api(database_url, port, process.pid, key, secret)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").is_success
    except httpx.HTTPError:
        return False
