"""Exit statuses and error messages of `pagewright experiment`."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pagewright.cli.app import app
from pagewright.cli.up.parts import free_port


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lora", "r=8"], "not valid JSON"),
        (["--training", "[1]"], "not a JSON object"),
        (["--max-steps", "0"], "--max-steps"),
        (["--url", "localhost:8000"], "localhost:8000"),
    ],
)
def test_wrong_options_give_exit_status_2(arguments: list[str], words: str, tmp_path: Path) -> None:
    ended = CliRunner().invoke(app, ["experiment", "--report", str(tmp_path), *arguments])
    assert ended.exit_code == 2
    assert words in " ".join(ended.stderr.replace("│", " ").split())  # the message is in a box


def test_an_unreachable_server_gives_exit_status_1(tmp_path: Path, configure: Callable[..., None]) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    file = tmp_path / "rows.json"
    file.write_text("[]")
    configure(server_url=address, alpaca_webgen=file)
    ended = CliRunner().invoke(app, ["experiment", "--report", str(tmp_path / "report")])
    assert ended.exit_code == 1
    assert address in ended.stderr


def test_a_report_folder_that_cannot_be_created_is_reported_first(
    tmp_path: Path, configure: Callable[..., None]
) -> None:
    (tmp_path / "taken").touch()
    configure(server_url=f"http://127.0.0.1:{free_port()}")
    ended = CliRunner().invoke(app, ["experiment", "--report", str(tmp_path / "taken")])
    assert ended.exit_code == 1
    assert "the report's folder can't be created" in ended.stderr


def test_the_error_names_the_log_of_a_server_that_cannot_start(
    tmp_path: Path, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PAGEWRIGHT_SERVER_URL", raising=False)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "models").touch()
    configure()
    arguments = ["--data", str(tmp_path / "data"), "--report", str(tmp_path / "report")]
    ended = CliRunner().invoke(app, ["experiment", *arguments])
    assert ended.exit_code == 1
    log = tmp_path / "data" / "server.log"
    assert str(log) in ended.stderr
    assert "can't be used" in log.read_text()
