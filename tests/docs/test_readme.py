"""The commands of the README run word for word in a fresh clone, one after the other, as a newcomer runs them.

The `make` commands are left out: they install packages, and run these tests. Two things are replaced: the key `pw_...`
by the one that the server prints, and port 8000 by a free one.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagewright.cli.up.parts import free_port
from tests.processes import eventually

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
SERVER = ".venv/bin/pagewright up"
COMMAND_SECONDS = 600
"""When a command counts as one that hangs."""

PRINT_TIME = 'echo "$EPOCHREALTIME $BASH_COMMAND" >> times'


def blocks(readme: str) -> list[str]:
    """The shell blocks of a Markdown text, without those of `make`."""
    return [
        block for block in re.findall(r"^```sh\n(.*?)^```", readme, re.DOTALL | re.MULTILINE) if "make " not in block
    ]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", folder], check=True)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def environment(clone: Path, port: int) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PAGEWRIGHT_")}
    address = f"http://localhost:{port}"
    ports = {"PAGEWRIGHT_PORT": str(port), "PAGEWRIGHT_SERVER_URL": address}
    return {**inherited, **ports, "PYTHONPATH": str(clone)}  # or the editable install would be imported


@pytest.fixture
def key(clone: Path, port: int, environment: dict[str, str]) -> Iterator[str]:
    """Terminal one: the server, started by the README's command. The fixture is the key that it prints."""
    assert f"{SERVER}\n" in blocks((clone / "README.md").read_text())
    log = clone / "terminal-one.log"
    with log.open("wb") as output:
        server = subprocess.Popen(SERVER.split(), cwd=clone, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: server.poll() is not None or _keys(log), "the server printed a key")
        assert server.poll() is None, log.read_text()
        [printed] = _keys(log)
        yield printed
    finally:
        server.terminate()
        server.wait()


def _keys(log: Path) -> set[str]:
    return set(re.findall(r"pw_[\w-]{20,}", log.read_text()))


@pytest.mark.timeout(1800)
def test_the_commands_of_the_readme_run_word_for_word(
    clone: Path, port: int, environment: dict[str, str], key: str
) -> None:
    commands = [block for block in blocks((clone / "README.md").read_text()) if block != f"{SERVER}\n"]
    assert len(commands) >= 5
    # Word for word, except for the key and the port. A curl command that gets an error answer ends the script.
    script = "".join(commands).replace("pw_...", key).replace("localhost:8000", f"localhost:{port}")
    prepared = f"set -euo pipefail\ncurl() {{ command curl --fail-with-body \"$@\"; }}\ntrap '{PRINT_TIME}' DEBUG\n"
    ran = subprocess.run(
        ["bash", "-c", prepared + script],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    _print_times((clone / "times").read_text())
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert "Market day</h1>" in ran.stdout, "the page of the first job"
    assert ran.stdout.count('"status":"succeeded"') == 3, "the streams of a generation, a fine-tune and a quantization"
    assert "/site.css" in ran.stdout, "the fine-tuned model writes pages of the sample's site"
    assert '"variant": "bitsandbytes-4"' in ran.stdout, "the report of the quantization"


def _print_times(times: str) -> None:
    """Print how long each command took; `pytest -s` shows it."""
    starts = [line.split(" ", 1) for line in times.splitlines() if re.match(r"\d+\.\d+ ", line)]
    ends = [float(start) for start, _ in starts[1:]] + [time.time()]
    for (start, command), end in zip(starts, ends, strict=True):
        if end - float(start) > 0.5:
            print(f"{end - float(start):6.1f} s  {command[:100]}")
