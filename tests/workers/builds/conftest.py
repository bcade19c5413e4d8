import subprocess

import pytest

from tests import preloaded


@pytest.fixture(autouse=True)
def preloaded_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the processes of build jobs with their libraries imported."""
    monkeypatch.setattr(subprocess, "Popen", preloaded.Popen)
