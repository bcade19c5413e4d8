import subprocess
from pathlib import Path

import pytest

from db.queries import api_keys
from db.session import Database
from tests.processes import COMMAND, environment


def run(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(**settings),
        text=True,
        capture_output=True,
        check=False,
    )


def test_migrate_creates_a_database_in_which_keys_can_be_created(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    assert run("migrate", database_url=url).returncode == 0
    created = run("keys", "create", "somebody", "--role", "admin", database_url=url)
    assert created.returncode == 0
    assert created.stdout.startswith("pw_")


def test_a_created_key_is_stored_as_a_hash(database: Database) -> None:
    secret = run("keys", "create", "somebody").stdout.strip()
    with database.engine.connect() as connection:
        [row] = connection.exec_driver_sql("SELECT * FROM api_keys").all()
    assert secret not in str(row)
    assert "somebody" in str(row)


def test_an_unknown_worker_role_is_refused() -> None:
    ended = run("worker", "--role", "cook")
    assert ended.returncode == 2
    assert "inference" in ended.stderr


@pytest.mark.parametrize(
    "command", [("settings",), ("migrate",), ("up",), ("api",), ("worker",), ("keys", "create", "x")]
)
def test_a_misspelt_setting_is_refused_at_start_with_the_nearest_one(command: tuple[str, ...], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    ended = run(*command, database_url=url, data_dri=tmp_path, max_quewed="1", nonsense="")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines() == [
        "pagewright: PAGEWRIGHT_DATA_DRI: there is no such setting; did you mean PAGEWRIGHT_DATA_DIR?",
        "pagewright: PAGEWRIGHT_MAX_QUEWED: there is no such setting; did you mean PAGEWRIGHT_MAX_QUEUED?",
        "pagewright: PAGEWRIGHT_NONSENSE: there is no such setting; `pagewright settings` lists those that there are",
    ]
    assert list(tmp_path.iterdir()) == []


def test_variables_that_kubernetes_sets_for_a_service_are_no_settings() -> None:
    service = {"service_host": "10.0.0.1", "service_port": "8000", "service_port_http": "8000"}
    port = {"port_8000_tcp": "tcp://10.0.0.1:8000", "port_8000_tcp_addr": "10.0.0.1", "api_port": "tcp://10.0.0.1:8000"}
    assert run("settings", **service, **port).returncode == 0


def test_an_invalid_setting_is_refused_in_words_and_its_value_is_not_shown() -> None:
    ended = run("settings", port="secret", log_level="secret", api_key="my secret", redis_url="http://secret")
    assert ended.returncode == 1
    assert "secret" not in ended.stderr
    lines = ended.stderr.splitlines()
    assert "pagewright: PAGEWRIGHT_PORT: must be a whole number, such as 4" in lines
    assert "pagewright: PAGEWRIGHT_LOG_LEVEL: must be `DEBUG`, `INFO`, `WARNING` or `ERROR`" in lines
    assert "pagewright: PAGEWRIGHT_API_KEY: must hold only visible ASCII characters, without spaces" in lines


def test_keys_are_listed_and_revoked_by_name_or_id(database: Database) -> None:
    run("keys", "create", "ci", "--role", "admin")
    run("keys", "create", "Anna's laptop")
    run("keys", "create", "Anna's laptop")
    header, *rows = run("keys", "list").stdout.splitlines()
    assert header.split() == ["NAME", "ROLE", "KEY", "CREATED", "REVOKED", "ID"]
    assert [row.split("  ")[0] for row in rows] == ["Anna's laptop", "Anna's laptop", "ci"]
    newest, oldest = (row.split()[-1] for row in rows[:2])

    ambiguous = run("keys", "revoke", "Anna's laptop")
    assert ambiguous.returncode == 1
    assert "2 valid API keys have the name" in ambiguous.stderr
    assert f"use the id of one: {newest}, {oldest}" in ambiguous.stderr
    assert _valid(database) == 3

    revoked = run("keys", "revoke", newest)
    assert (revoked.returncode, revoked.stdout[:21]) == (0, "revoked Anna's laptop"), revoked.stderr
    assert run("keys", "revoke", "Anna's laptop").returncode == 0, "only one with the name is valid now"
    assert run("keys", "revoke", "ci").returncode == 0
    assert _valid(database) == 0

    assert "is revoked already" in run("keys", "revoke", "ci").stderr
    unknown = run("keys", "revoke", "nobody")
    assert unknown.returncode == 1
    assert "there is no API key with the name or id 'nobody'" in unknown.stderr


def _valid(database: Database) -> int:
    with database.read() as session:
        return sum(key.revoked_at is None for key in api_keys.all_keys(session))
