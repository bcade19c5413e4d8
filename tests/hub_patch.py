"""Lets huggingface_hub in this process ask a test's server."""

from pathlib import Path

import huggingface_hub.constants
import pytest


def answer_at(address: str, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Make huggingface_hub ask the server at `address`, and use the empty folder `cache`."""
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
