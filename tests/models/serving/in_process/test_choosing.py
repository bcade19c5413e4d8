"""How the engine of a model is chosen. What it then writes is in `tests/models/serving/test_architectures.py`."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from models.loading.refs import ModelLoadError
from models.serving.engine import PAGED, PLAIN
from models.serving.in_process import choosing
from models.serving.in_process.choosing import reason_against_paging, start_engine, tolerance
from models.serving.in_process.limits import EngineLimits
from tests.models import architectures


def reason(model: Any) -> str | None:
    return reason_against_paging(model, EngineLimits.for_model(model))


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma3_text"])
def test_a_model_that_continuous_batching_computes_right_is_served_by_it(name: str) -> None:
    engine = start_engine(*architectures.make(name))
    assert (engine.name, engine.reason) == (PAGED, None)
    engine.close()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gptj", "computes other logits than GPTJForCausalLM alone: they differ by"),
        ("opt", "can't run OPTForCausalLM: RuntimeError"),
        ("gemma2", "does not cap scores"),
        ("phi3-longrope", "with longrope positions, the longest text of a batch would change the others"),
        ("llama-dynamic", "with dynamic positions"),
        ("mamba", "can't run MambaForCausalLM"),
    ],
)
def test_another_model_is_served_plainly_and_says_why(name: str, why: str) -> None:
    engine = start_engine(*architectures.make(name))
    assert engine.name == PLAIN
    assert engine.reason is not None
    assert why in engine.reason
    engine.close()


def test_a_window_that_only_one_of_the_two_has_is_found() -> None:
    model, _ = architectures.make("gemma3_text")
    assert reason(model) is None
    for layer in model.model.layers:
        if layer.self_attn.sliding_window is not None:
            forward = layer.self_attn.forward

            def without_window(*args: Any, _forward: Any = forward, **options: Any) -> Any:
                if options.get("past_key_values") is None and options.get("attention_mask") is not None:
                    options["attention_mask"] = None
                return _forward(*args, **options)

            layer.self_attn.forward = without_window
    assert "computes other logits" in str(reason(model))


def test_a_window_that_takes_long_to_check_is_served_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = architectures.make("gemma3_text")
    model.config.sliding_window = 100
    monkeypatch.setitem(choosing.OPERATIONS, "cpu", 1e6)
    assert "window of 100 tokens can't be checked" in str(reason(model))


def test_a_window_as_long_as_the_context_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = architectures.make("gemma3_text")
    model.config.sliding_window = architectures.CONTEXT
    monkeypatch.setitem(choosing.OPERATIONS, "cpu", 1e6)
    assert reason(model) is None


def test_a_model_that_nothing_runs_is_refused_by_its_name() -> None:
    """transformers' DBRX can't compute without a bound of its queries."""
    config = architectures.make_config("dbrx")
    config.attn_config.clip_qkv = None
    model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(ModelLoadError, match=r"DbrxForCausalLM can't generate text here.*another architecture"):
        start_engine(model, architectures.tokenizer())


def test_the_comparison_leaves_the_attention_as_it_was_and_logs_no_error(caplog: pytest.LogCaptureFixture) -> None:
    for name, right in (("gpt_oss", True), ("opt", False)):
        model, _ = architectures.make(name)
        before = model.config._attn_implementation
        assert (reason(model) is None) == right
        assert model.config._attn_implementation == before
    assert not [record for record in caplog.records if record.name == "ContinuousBatchingLogger"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_tolerance_is_well_above_the_rounding_of_a_dtype_and_well_below_a_wrong_mask(dtype: torch.dtype) -> None:
    model, _ = architectures.make("llama")
    model.to(dtype)
    limits = EngineLimits.for_model(model)
    error = choosing._largest_error(model, limits, architectures.CONTEXT)
    assert error < tolerance(model) / 2
    assert tolerance(model) < 0.2
