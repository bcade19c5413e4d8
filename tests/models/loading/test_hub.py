"""Fetching models from a local server that speaks the hub's protocol."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from models.loading import hub
from models.loading.description import causal_model_types
from models.loading.model_files import BUNDLED_MODELS
from models.tasks.pull import PullTask, pull
from models.tasks.reports import DownloadedBytes, Report
from pagewright.cli.up.parts import free_port
from tests.disk import small_disk
from tests.hub import serve_hub
from tests.hub_patch import answer_at

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def on_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "on-the-hub"
    shutil.copytree(BUNDLED_MODELS / "starter", folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    with serve_hub("some/model", folder, COMMIT) as address:
        answer_at(address, monkeypatch, tmp_path / "cache")
        yield folder


def test_a_pull_reports_every_byte_and_what_is_there_is_not_fetched_again(on_hub: Path, tmp_path: Path) -> None:
    reports: list[Report] = []
    task = PullTask(work_folder=tmp_path, location="some/model", commit=COMMIT)
    assert pull(task, reports.append, lambda: False)
    last = reports[-1]
    assert isinstance(last, DownloadedBytes)
    assert (last.done, last.percent_done) == (last.total, 100.0)
    assert last.total > (on_hub / "model.safetensors").stat().st_size
    shutil.rmtree(on_hub)
    again: list[Report] = []
    assert pull(task, again.append, lambda: False)
    assert [report for report in again if isinstance(report, DownloadedBytes) and report.done < last.total] == []


def test_a_full_disk_is_named_before_anything_large_is_fetched(
    on_hub: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hub, "SPARE_BYTES", 10**18)
    with pytest.raises(hub.DiskFull, match=r"some/model: .* GB are still to be downloaded.*HF_HOME"):
        hub.fetch("some/model", COMMIT)
    assert not list((tmp_path / "cache").rglob("model.safetensors"))


def test_a_hub_that_does_not_answer_is_not_a_hub_that_lacks_the_model(
    on_hub: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(hub.NotOnHub, match="the hub has no model of this name"):
        hub.resolve("no/such", "main", 5)
    assert hub.resolve("some/model", "main", 5) == COMMIT
    answer_at(f"http://127.0.0.1:{free_port()}", monkeypatch, tmp_path / "empty")
    for fetch in (lambda: hub.resolve("some/model", "main", 5), lambda: hub.fetch("some/model", COMMIT)):
        with pytest.raises(hub.HubUnreachable, match="can't be reached: ConnectError"):
            fetch()


def test_what_is_in_the_cache_is_described_without_the_hub(
    on_hub: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looked_up = hub.look_up("some/model", "main", 20)
    assert hub.look_up_in_cache("some/model", COMMIT) is None
    hub.fetch("some/model", COMMIT)
    answer_at(f"http://127.0.0.1:{free_port()}", monkeypatch, tmp_path / "cache")
    assert hub.look_up_in_cache("some/model", COMMIT) == looked_up


def test_the_model_types_are_those_of_transformers() -> None:
    assert causal_model_types() == set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


@pytest.mark.parametrize(
    ("refused", "refusal", "token", "says"),
    [
        ("/resolve/", (401, "GatedRepo"), None, "is gated: accept its terms on its page, and set HF_TOKEN"),
        ("/resolve/", (403, "GatedRepo"), "hf_other", "is gated: accept its terms on its page, and set HF_TOKEN"),
        ("/", (401, "RepoNotFound"), None, "if it is private, set HF_TOKEN for the API and the workers"),
        ("/", (401, "RepoNotFound"), "hf_other", "if it is private, the hub does not accept HF_TOKEN for it"),
        ("/", (403, ""), "hf_other", "the hub refuses access with status 403: check HF_TOKEN"),
    ],
)
def test_a_repository_that_needs_a_token_says_which_setting_has_it(
    on_hub: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    refused: str,
    refusal: tuple[int, str],
    token: str | None,
    says: str,
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with serve_hub("some/model", on_hub, COMMIT, refused=refused, refusal=refusal) as address:
        answer_at(address, monkeypatch, tmp_path / "cache")
        for fetch in (lambda: hub.look_up("some/model", "main", 20), lambda: hub.fetch("some/model", COMMIT)):
            with pytest.raises(hub.AccessDenied) as raised:
                fetch()
            assert says in str(raised.value)
            assert address not in str(raised.value)


def test_a_disk_that_becomes_full_during_the_download_is_named(
    on_hub: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr(hub, "SPARE_BYTES", -(10**18))  # as if the space had been there before the download
    with small_disk(tmp_path / "cache", (on_hub / "model.safetensors").stat().st_size // 2) as mounted:
        if not mounted:
            pytest.skip("this process may not mount a file system")
        with pytest.raises(hub.DiskFull, match=r"some/model: the disk .*HF_HOME.* is full"):
            hub.fetch("some/model", COMMIT)
