import json
from pathlib import Path
from typing import Any

import pytest

from models.loading.quantization_config import quantization_summary, read_quantization_config

GPTQ = {"bits": 4, "group_size": 128, "desc_act": True, "sym": True}


def write(folder: Path, **files: Any) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_the_settings_in_config_json_come_first(tmp_path: Path) -> None:
    settings = {"quant_method": "gptq", **GPTQ}
    write(tmp_path, config={"quantization_config": settings}, quantize_config={"bits": 8})
    assert read_quantization_config(tmp_path) == settings
    assert quantization_summary(tmp_path) == {"method": "gptq", **GPTQ}


def test_the_settings_of_autogptq_are_completed_with_the_method_and_lose_null_values(tmp_path: Path) -> None:
    write(tmp_path, config={}, quantize_config=GPTQ | {"model_file_base_name": "model", "model_name_or_path": None})
    expected = {"quant_method": "gptq", "model_file_base_name": "model", **GPTQ}
    assert read_quantization_config(tmp_path) == expected
    assert quantization_summary(tmp_path) == {"method": "gptq", **GPTQ}


def test_weights_without_settings_are_not_quantized(tmp_path: Path) -> None:
    write(tmp_path, config={"model_type": "llama"})
    assert read_quantization_config(tmp_path) is None
    assert quantization_summary(tmp_path) is None


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"config": "{"}, "Expecting"),
        ({"config": []}, "config.json is not a JSON object"),
        ({"config": {"quantization_config": "gptq"}}, "quantization_config in config.json is not an object"),
        ({"config": {}, "quantize_config": 4}, "quantize_config.json is not a JSON object"),
        ({"config": {}, "quantize_config": {"group_size": 128}}, "quantize_config.json has no `bits`"),
        ({"config": "[" * 100_000}, "nested too deeply"),
    ],
)
def test_unreadable_settings_are_refused_to_a_worker_and_not_shown_by_the_api(
    tmp_path: Path, files: dict[str, Any], reason: str
) -> None:
    write(tmp_path, **files)
    with pytest.raises(ValueError, match=reason):
        read_quantization_config(tmp_path)
    assert quantization_summary(tmp_path) is None


def test_a_missing_folder_is_an_error_to_a_worker_and_not_shown_by_the_api(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        read_quantization_config(tmp_path / "nowhere")
    assert quantization_summary(tmp_path / "nowhere") is None
