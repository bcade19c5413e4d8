"""`pagewright warm` against the real API, with a real worker or one whose changes the test makes."""

import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from db import job_transitions
from db.job_transitions import Claim
from db.queries import generations, models
from db.queries.generations import GenerationRow
from db.queries.job_names import Named
from db.session import Database
from db.tables.api_keys import ApiKey
from db.vocabulary import ErrorType, JobStatus, Role
from pagewright.cli.app import app
from pagewright.cli.up.parts import free_port
from tests.databases import on_sqlite
from tests.processes import COMMAND, LIMIT_SECONDS, environment, eventually, running


@pytest.fixture
def settings(database: Database, make_key: Callable[[Role], tuple[ApiKey, str]]) -> Iterator[dict[str, object]]:
    """The settings of a command that talks to a running API."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with running("api", port=port):
        eventually(lambda: _answers(address), "the API answers")
        yield {"server_url": address, "api_key": make_key(Role.USER)[1]}


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz").is_success
    except httpx.HTTPError:
        return False


@contextmanager
def warming(folder: Path, settings: dict[str, object], *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Run `pagewright warm starter`; yield its process and the file with its standard error."""
    errors = folder / "errors"
    with errors.open("w") as file:
        process = subprocess.Popen(
            [*COMMAND, "warm", "starter", *arguments],
            env=environment(**settings),
            text=True,
            stdout=subprocess.PIPE,
            stderr=file,
        )
    try:
        yield process, errors
    finally:
        process.kill()
        process.wait()


def warm(settings: dict[str, object], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "warm", *arguments]
    return subprocess.run(command, env=environment(**settings), text=True, capture_output=True, check=False)


def only_generation(database: Database) -> GenerationRow | None:
    with database.read() as session:
        page = generations.page(session, owner=None, status=None, batch_id=None, named=Named(), limit=2, after=None)
    assert len(page.items) < 2
    return page.items[0] if page.items else None


def submitted(database: Database) -> GenerationRow:
    eventually(lambda: only_generation(database), "a generation was submitted")
    row = only_generation(database)
    assert row is not None
    return row


def claim(database: Database, job_id: uuid.UUID) -> list[Claim]:
    with database.write() as session:
        return job_transitions.claim(session, [job_id], worker="a test", lease_seconds=600)


@on_sqlite
def test_the_command_ends_when_a_worker_has_loaded_the_model(settings: dict[str, object], database: Database) -> None:
    with running("worker"):
        ended = warm(settings, "starter")
    assert (ended.returncode, ended.stdout[:20]) == (0, "starter is loaded; i"), ended.stderr
    row = submitted(database)
    assert (row.job.status, row.generation.max_new_tokens, row.generation.load) == (JobStatus.SUCCEEDED, 1, None)
    with database.read() as session:
        model = models.get_by_name(session, "starter")
    assert model is not None
    assert model.engine is not None, "a worker has loaded the model"


@on_sqlite
def test_the_command_shows_that_the_model_is_loading_and_why_it_can_not_be_loaded(
    settings: dict[str, object], database: Database, tmp_path: Path
) -> None:
    with warming(tmp_path, settings, "--load", "4bit") as (process, errors):
        row = submitted(database)
        assert row.generation.load == {"method": "bitsandbytes", "bits": 4}
        eventually(lambda: "queued: No live worker serves the queue" in errors.read_text(), "what the job waits for")
        claims = claim(database, row.job.id)
        with database.write() as session:
            job_transitions.set_loading(session, claims, loading=True)
        eventually(lambda: "running: The model is loading, for " in errors.read_text(), "the load is shown")
        with database.write() as session:
            job_transitions.fail(session, claims, ErrorType.MODEL_UNAVAILABLE, "the disk is broken")
        output, _ = process.communicate(timeout=LIMIT_SECONDS)
    lines = errors.read_text().splitlines()
    assert (process.returncode, output) == (1, "")
    assert lines[0] == f"generation {row.job.id}"
    assert lines[-1] == (f"pagewright warm: generation {row.job.id} failed: the disk is broken (model-unavailable)")
    assert sum("The model is loading" in line for line in lines) == 1, "a line for each second would fill a log"


@on_sqlite
def test_ctrl_c_cancels_the_generation(settings: dict[str, object], database: Database, tmp_path: Path) -> None:
    with warming(tmp_path, settings) as (process, errors):
        job = submitted(database).job
        eventually(lambda: f"generation {job.id}" in errors.read_text(), "the command waits")
        process.send_signal(signal.SIGINT)
        process.wait(LIMIT_SECONDS)
    assert process.returncode == 130
    assert f"interrupted; generation {job.id} is cancelled" in errors.read_text()
    assert submitted(database).job.status == JobStatus.CANCELLED


@on_sqlite
def test_a_refusal_and_a_server_that_is_not_there_are_named(settings: dict[str, object]) -> None:
    unknown = warm(settings, "nobody")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr.startswith("pagewright warm: the server refused the request (422): model")
    nowhere = warm(settings, "starter", "--url", f"http://127.0.0.1:{free_port()}")
    assert nowhere.returncode == 1
    assert "does not answer" in nowhere.stderr


@pytest.mark.parametrize("arguments", [("starter", "--load", "3bit"), ("starter", "--url", "localhost:8000"), ()])
def test_wrong_options_have_status_2(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, ["warm", *arguments]).exit_code == 2
