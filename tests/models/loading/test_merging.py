"""A merged model is one that plain transformers loads, and says what its base says under the adapter."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.loading.loader import load
from models.loading.merging import merge
from models.loading.refs import ModelLoadError, ModelRef, Source
from models.prompts.template import build_prompt
from tests.adapters import STARTER, make_adapter

PROMPT = build_prompt("Create a web page with a heading and a list.")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_adapter(tmp_path_factory.mktemp("adapter"))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The starter model, stored in float32."""
    folder = tmp_path / "base"
    model, tokenizer = load(STARTER, device="cpu")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    with torch.inference_mode():
        output: torch.Tensor = model(**tokenizer(PROMPT, return_tensors="pt")).logits
    return output


def test_a_merged_model_says_what_its_base_says_under_the_adapter(base: Path, adapter: str, tmp_path: Path) -> None:
    ref = ModelRef(Source.LOCAL, str(base), adapter=adapter)
    merge(ref, tmp_path / "merged")
    merged: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert merged.dtype == torch.float32
    assert merged.generation_config.eos_token_id == 2
    over_base = logits(*load(ref, device="cpu"))
    # Wx + BAx and (W + BA)x are equal but for rounding, which in float32 came to 1e-5 where it was measured
    torch.testing.assert_close(logits(merged, tokenizer), over_base, atol=1e-4, rtol=1e-4)
    assert (over_base - logits(*load(ref.base, device="cpu"))).abs().max() > 1


def test_a_merged_model_is_stored_as_its_base_is(adapter: str, tmp_path: Path) -> None:
    ref = ModelRef(Source.BUNDLED, "starter", adapter=adapter)
    merge(ref, tmp_path / "merged")
    merged: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert merged.dtype == torch.bfloat16
    over_base = logits(*load(ref, device="cpu"))
    # the merged weights are rounded to 8 bits, one part in 256, and so the logits differ by about as much
    difference = (logits(merged.float(), tokenizer) - over_base).norm() / over_base.norm()
    assert difference < 0.02


def test_a_merged_model_can_be_loaded_and_take_an_adapter_again(adapter: str, tmp_path: Path) -> None:
    merge(ModelRef(Source.BUNDLED, "starter", adapter=adapter), tmp_path / "merged")
    again, _ = load(ModelRef(Source.LOCAL, str(tmp_path / "merged"), adapter=adapter))
    assert not again.training


def test_a_quantized_base_is_refused_with_what_to_do_instead(base: Path, adapter: str, tmp_path: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelLoadError, match="quantized from"):
        merge(ModelRef(Source.LOCAL, str(base), adapter=adapter), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_what_can_not_be_merged_is_said_before_anything_is_written(base: Path, adapter: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no adapter"):
        merge(ModelRef(Source.LOCAL, str(base)), tmp_path / "merged")
    shutil.rmtree(base)
    with pytest.raises(ModelLoadError, match="base"):
        merge(ModelRef(Source.LOCAL, str(base), adapter=adapter), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
