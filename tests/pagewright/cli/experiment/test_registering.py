"""Registration with the real API in this process and a local server that speaks the hub's protocol."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from pagewright.cli.client import ServerError
from pagewright.cli.experiment.plan import DATASET, ExperimentError, Options
from pagewright.cli.experiment.registering import is_gptq, register_dataset, register_model
from pagewright.cli.up.parts import free_port
from tests.hub import serve_hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROWS = [{"instruction": f"Create page {number}.", "input": "", "output": f"<h1>{number}</h1>"} for number in range(8)]

Hub = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """Return a context manager that serves a folder as a repository of the hub, in this process."""

    @contextmanager
    def serve(name: str, folder: Path, kind: str = "model") -> Iterator[None]:
        with serve_hub(name, folder, COMMIT, kind) as address:
            answer_at(address)
            yield

    def answer_at(address: str) -> None:
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))

    answer_at(f"http://127.0.0.1:{free_port()}")
    return serve


def folder_with(folder: Path, **contents: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def upload(tmp_path: Path, rows: Any = ROWS) -> Path:
    file = tmp_path / "alpaca.json"
    file.write_text(json.dumps(rows))
    return file


def test_a_file_is_uploaded_once_with_the_original_split(as_admin: Any, tmp_path: Path) -> None:
    file = upload(tmp_path)
    first = register_dataset(as_admin, Options(), file)
    assert (first.location, first.test_fraction, first.seed, first.test_rows) == ("alpaca.json", 0.25, 123, 2)
    assert register_dataset(as_admin, Options(), file) == first
    assert register_dataset(as_admin, Options(name="fresh"), file).name != first.name
    assert register_dataset(as_admin, Options(), upload(tmp_path, ROWS[:4])).train_rows == 3


def test_without_a_file_the_dataset_is_the_latest_commit_on_the_hub(as_admin: Any, tmp_path: Path, hub: Hub) -> None:
    with hub(DATASET, folder_with(tmp_path / "dataset", train=ROWS), kind="dataset"):
        dataset = register_dataset(as_admin, Options(), None)
    assert (dataset.source, dataset.location, dataset.revision, dataset.test_rows) == ("hub", DATASET, COMMIT, 2)
    assert register_dataset(as_admin, Options(dataset_revision=COMMIT), None) == dataset


def test_the_error_of_an_unreachable_hub_suggests_a_file(as_admin: Any, hub: Hub) -> None:
    with pytest.raises(ExperimentError, match="PAGEWRIGHT_ALPACA_WEBGEN"):
        register_dataset(as_admin, Options(), None)


def test_a_missing_or_empty_file_is_an_error(as_admin: Any, tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"PAGEWRIGHT_ALPACA_WEBGEN.*missing\.json"):
        register_dataset(as_admin, Options(), tmp_path / "missing.json")
    with pytest.raises(ServerError, match="no rows"):
        register_dataset(as_admin, Options(), upload(tmp_path, []))


def test_the_starter_is_already_registered(as_admin: Any) -> None:
    model = register_model(as_admin, Options())
    assert (model.name, model.source) == ("starter", "bundled")
    assert not is_gptq(model)


def test_a_local_folder_is_registered_once_under_its_name(as_admin: Any, tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "models" / "mine", config={"quantization_config": {"quant_method": "gptq"}})
    (folder / "model.safetensors").touch()
    model = register_model(as_admin, Options(model=str(folder)))
    assert (model.name, model.source) == ("mine", "local")
    assert is_gptq(model)
    assert register_model(as_admin, Options(model="mine")) == model


def test_a_hub_model_is_pinned_to_its_latest_commit_and_gptq_is_read_from_its_files(
    as_admin: Any, tmp_path: Path, hub: Hub
) -> None:
    options = Options(model="some/gptq")
    with hub("some/gptq", folder_with(tmp_path / "gptq", config={}, quantize_config={"bits": 4})):
        model = register_model(as_admin, options)
        assert (model.name, model.source, model.revision) == ("some/gptq", "hub", COMMIT)
        assert is_gptq(model)
    assert register_model(as_admin, options) == model
    with hub("some/full", folder_with(tmp_path / "full", config={})):
        assert not is_gptq(register_model(as_admin, Options(model="some/full")))


def test_another_quantization_method_is_refused(as_admin: Any, tmp_path: Path, hub: Hub) -> None:
    content = {"quantization_config": {"quant_method": "awq"}}
    with hub("some/awq", folder_with(tmp_path / "awq", config=content)), pytest.raises(ServerError, match="awq"):
        register_model(as_admin, Options(model="some/awq"))


def test_a_commit_other_than_the_registered_one_is_refused(as_admin: Any, tmp_path: Path, hub: Hub) -> None:
    with hub("some/model", folder_with(tmp_path / "model", config={})):
        register_model(as_admin, Options(model="some/model"))
    with pytest.raises(ExperimentError, match=COMMIT):
        register_model(as_admin, Options(model="some/model", revision="1" * 40))


def test_the_error_names_a_repository_that_the_hub_does_not_have(as_admin: Any, tmp_path: Path, hub: Hub) -> None:
    with (
        hub("some/model", folder_with(tmp_path / "model", config={})),
        pytest.raises(ExperimentError, match="other/model"),
    ):
        register_model(as_admin, Options(model="other/model"))
