"""Merging an adapter: plain transformers loads the result, which has the outputs of the base with the adapter."""

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
from models.prompts.chat import Prompter
from models.prompts.rows import Row
from models.prompts.templates import PromptOptions, build_prompt
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


def test_a_merged_model_has_the_outputs_of_its_base_with_the_adapter(base: Path, adapter: str, tmp_path: Path) -> None:
    ref = ModelRef(Source.LOCAL, str(base), adapter=adapter)
    merge(ref, tmp_path / "merged")
    merged: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert merged.dtype == torch.float32
    assert merged.generation_config.eos_token_id == 2
    over_base = logits(*load(ref, device="cpu"))
    # Wx + BAx and (W + BA)x differ by rounding only: by about 1e-5 in float32.
    torch.testing.assert_close(logits(merged, tokenizer), over_base, atol=1e-4, rtol=1e-4)
    assert (over_base - logits(*load(ref.base, device="cpu"))).abs().max() > 1


def test_a_merged_model_s_tokenizer_renders_the_prompts_of_the_adapter_s_training(
    base: Path, adapter: str, tmp_path: Path
) -> None:
    training = PromptOptions("pagewright-1", system="Write HTML.")
    merge(ModelRef(Source.LOCAL, str(base), adapter=adapter), tmp_path / "merged", training)
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "merged")
    prompter = Prompter(AutoTokenizer.from_pretrained(base), training)
    messages = [{"role": "user", "content": "Create a page."}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert prompt == prompter.prompt_of(Row("Create a page.", "", ""))


def test_a_merged_model_is_stored_in_the_dtype_of_its_base(adapter: str, tmp_path: Path) -> None:
    ref = ModelRef(Source.BUNDLED, "starter", adapter=adapter)
    merge(ref, tmp_path / "merged")
    merged: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert merged.dtype == torch.bfloat16
    over_base = logits(*load(ref, device="cpu"))
    # Merged bfloat16 weights are rounded to one part in 256, so the logits differ by about as much.
    difference = (logits(merged.float(), tokenizer) - over_base).norm() / over_base.norm()
    assert difference < 0.02


def test_a_merged_model_loads_with_another_adapter(adapter: str, tmp_path: Path) -> None:
    merge(ModelRef(Source.BUNDLED, "starter", adapter=adapter), tmp_path / "merged")
    again, _ = load(ModelRef(Source.LOCAL, str(tmp_path / "merged"), adapter=adapter))
    assert not again.training


def test_a_quantized_base_is_refused_with_alternatives(base: Path, adapter: str, tmp_path: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelLoadError, match="quantized from"):
        merge(ModelRef(Source.LOCAL, str(base), adapter=adapter), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_merge_that_can_not_work_writes_nothing(base: Path, adapter: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no adapter"):
        merge(ModelRef(Source.LOCAL, str(base)), tmp_path / "merged")
    shutil.rmtree(base)
    with pytest.raises(ModelLoadError, match="base"):
        merge(ModelRef(Source.LOCAL, str(base), adapter=adapter), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
