import subprocess
from pathlib import Path

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
