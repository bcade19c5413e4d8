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
def test_a_wrong_use_has_status_2(arguments: list[str], words: str, tmp_path: Path) -> None:
    ended = CliRunner().invoke(app, ["experiment", "--report", str(tmp_path), *arguments])
    assert ended.exit_code == 2
    assert words in " ".join(ended.stderr.replace("│", " ").split())  # it stands in a box


def test_a_server_that_can_not_be_reached_has_status_1(tmp_path: Path, configure: Callable[..., None]) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    file = tmp_path / "rows.json"
    file.write_text("[]")
    configure(server_url=address, alpaca_webgen=file)
    ended = CliRunner().invoke(app, ["experiment", "--report", str(tmp_path / "report")])
    assert ended.exit_code == 1
    assert address in ended.stderr


def test_a_report_that_can_not_be_written_is_said_before_anything_else(
    tmp_path: Path, configure: Callable[..., None]
) -> None:
    (tmp_path / "taken").touch()
    configure(server_url=f"http://127.0.0.1:{free_port()}")
    ended = CliRunner().invoke(app, ["experiment", "--report", str(tmp_path / "taken")])
    assert ended.exit_code == 1
    assert "the report's folder can't be made" in ended.stderr


def test_a_server_that_can_not_start_is_an_error_that_names_its_log(
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
