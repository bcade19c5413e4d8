"""Which files have the weights, when a repository has them twice."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.loading.weights import stored_bytes, weight_files, weights_name

INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["model.safetensors", INDEX, "model-00001-of-00001.safetensors"], "model.safetensors"),
        ([INDEX, "model-00001-of-00001.safetensors", "consolidated.safetensors"], INDEX),
        (["consolidated.safetensors", "model.safetensors"], "model.safetensors"),
    ],
)
def test_of_two_layouts_the_one_that_transformers_reads_is_chosen(names: list[str], chosen: str) -> None:
    assert weights_name(names, None) == chosen


def test_only_another_layout_is_refused_and_named() -> None:
    with pytest.raises(ValueError, match=r"no model.safetensors .*consolidated.safetensors is in another layout"):
        weights_name(["consolidated.safetensors"], None)
    with pytest.raises(ValueError, match="other weight formats are not loaded"):
        weights_name(["pytorch_model.bin"], None)


def test_autogptqs_name_is_found_with_or_without_its_setting() -> None:
    names = ["gptq_model-4bit-32g.safetensors"]
    assert weights_name(names, {"model_file_base_name": "gptq_model-4bit-32g"}) == names[0]
    assert weights_name(names, {}) == names[0]
    with pytest.raises(ValueError, match=r"other.safetensors: set model_file_base_name"):
        weights_name([*names, "other.safetensors"], {})


def test_files_that_the_index_does_not_name_are_not_counted(tmp_path: Path) -> None:
    for name, length in (("model-1.safetensors", 3), ("model-2.safetensors", 5), ("consolidated.safetensors", 100)):
        save_file({name: torch.zeros(length)}, tmp_path / name)
    weight_map = {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-2.safetensors"}
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    files = weight_files(tmp_path, INDEX)
    assert [file.name for file in files] == ["model-1.safetensors", "model-2.safetensors"]
    assert stored_bytes(files, float_bytes=2) == 2 * (3 + 5)


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"weight_map": {"a": "../../secret.safetensors"}}', '{"weight_map": {"a": "weights.bin"}}', "{"],
)
def test_an_index_that_is_broken_or_leads_out_of_the_folder_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(ValueError, match=r"weight_map|no \*.safetensors file of the folder|Expecting"):
        weight_files(tmp_path, INDEX)
