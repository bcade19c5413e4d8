import re
import shlex
import socket
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

from db.queries import api_keys
from db.session import Database
from pagewright.cli.app import IMPORTANT, app
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
    assert any(line.startswith("pagewright: PAGEWRIGHT_REDIS_URL: must be a redis://") for line in lines)


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


def commands(command: Any, path: tuple[str, ...] = ("pagewright",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_the_version_is_shown_even_when_a_setting_is_wrong() -> None:
    ended = run("--version", port="secret")
    assert (ended.returncode, ended.stdout) == (0, f"pagewright {version('pagewright')}\n")


def test_help_lists_the_important_variables_and_the_command_that_lists_all() -> None:
    shown = run("--help").stdout
    assert "`pagewright settings` lists all of them" in " ".join(shown.split())
    assert {name.removeprefix("PAGEWRIGHT_").lower() for name in re.findall(r"PAGEWRIGHT_\w+", shown)} >= set(IMPORTANT)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_help_of_each_command_has_an_example_that_the_command_line_accepts(path: tuple[str, ...]) -> None:
    _, _, text = (COMMANDS[path].epilog or "").rpartition("Example")
    lines = [line for line in text.split("\n\n")[1:] if line]
    assert lines, f"{' '.join(path)} has no example"
    for line in lines:
        words = shlex.split(line.rpartition("PAGEWRIGHT_HOST=0.0.0.0 ")[2])
        named = tuple(words[: max(n for n in range(1, len(words) + 1) if tuple(words[:n]) in COMMANDS)])
        assert named[: len(path)] == path
        if "--help" not in words:
            COMMANDS[named].make_context(named[-1], words[len(named) :])


def test_the_help_of_keys_create_says_what_each_role_may_do() -> None:
    shown = " ".join(run("keys", "create", "--help").stdout.replace("│", " ").split())
    assert "user: submits generations and evaluations" in shown
    assert "admin: also registers and merges models" in shown


def test_up_names_the_port_in_use_and_the_option_for_another(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ended = run("up", "--port", port, data_dir=tmp_path)
    assert ended.returncode == 1
    assert f"port {port} of 127.0.0.1 is in use: choose another with --port or PAGEWRIGHT_PORT" in ended.stderr


def test_up_refuses_an_address_that_is_not_this_machine_s(tmp_path: Path) -> None:
    ended = run("up", "--host", "192.0.2.1", data_dir=tmp_path)
    assert ended.returncode == 1
    assert "192.0.2.1 is not an address of this machine: choose one with --host or PAGEWRIGHT_HOST" in ended.stderr
