"""schemathesis over the whole OpenAPI document: all phases, all checks, the same cases in every run.

ATTACK_EXAMPLES sets the number of cases for each operation, and of sequences of operations.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from db.queries import models
from db.session import Database
from db.tables.datasets import Dataset
from db.vocabulary import ModelSource
from tests.api.helpers import PAGE
from tests.attacks.conftest import Api
from tests.attacks.schemathesis_hooks import HUB_MODEL, LOCAL_MODEL, ROWS

pytestmark = pytest.mark.long

EXAMPLES = os.environ.get("ATTACK_EXAMPLES", "20")
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture
def things(database: Database, make_dataset: Callable[..., Dataset], hub: Path, tmp_path: Path) -> None:
    """Existing things that requests can name."""
    make_dataset([("Create a page.", "", PAGE)] * 8, name="pages", test=[("Create a shop.", "", PAGE)] * 2)
    (hub / "train.jsonl").write_text(ROWS)
    with database.write() as session:
        models.add(session, HUB_MODEL, ModelSource.HUB, "some/model", "0" * 40)
    folder = tmp_path / "models" / LOCAL_MODEL
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()


@pytest.mark.timeout(0)
def test_every_response_matches_the_openapi_document(things: None, api: Api) -> None:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)),
        *("run", f"{api.address}/openapi.json", "--max-examples", EXAMPLES, "--no-color", "--warnings", "off"),
    ]
    environment = {"PAGEWRIGHT_API_KEY": api.secret, "ATTACKERS_KEY_ID": str(api.key.id)}
    run = subprocess.run(command, env={**os.environ, **environment}, text=True, capture_output=True, check=False)
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-5000:]
