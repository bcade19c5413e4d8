"""The measurements of a model's variants."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from models.loading.adapters import tensor_bytes
from models.loading.loader import load
from models.loading.refs import ModelRef, Source
from models.prompts.chat import Prompter
from models.prompts.rows import Row
from models.prompts.templates import PromptOptions, build_prompt
from models.quantization.errors import Stopped
from models.quantization.options import QuantizationOptions
from models.quantization.variants import Variant, complete, mean_loss, measure, measure_variants
from models.tasks.reports import MeasuredVariant
from tests.models import architectures
from tests.models.quantization.conftest import STARTER, Quantization
from tests.reciting import make_reciting


@pytest.fixture(scope="module")
def variants(quantized: Quantization) -> dict[str, MeasuredVariant]:
    return {report.variant: report for report in quantized.of_kind(MeasuredVariant)}


def test_the_loss_is_that_of_plain_transformers_over_the_output_and_the_end_token(rows: list[Row]) -> None:
    model, tokenizer = load(STARTER, "cpu")
    total, tokens = 0.0, 0
    for row in rows[:4]:
        prompt: Any = tokenizer(build_prompt(row.instruction, row.input))["input_ids"]
        completion: Any = tokenizer(row.output, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*prompt, *completion, tokenizer.eos_token_id]])
        labels = ids.clone()
        labels[0, : len(prompt)] = -100
        counted = len(completion) + 1
        with torch.no_grad():
            total += float(model(ids, labels=labels).loss) * counted
        tokens += counted
    assert mean_loss(model, Prompter(tokenizer), rows[:4]) == pytest.approx(total / tokens, rel=1e-4)


def test_rows_longer_than_the_context_do_not_count_in_the_loss_and_have_empty_completions(rows: list[Row]) -> None:
    model, tokenizer = load(STARTER, "cpu")
    long = Row("Create a page. " * 1000, "", rows[0].output)
    assert mean_loss(model, Prompter(tokenizer), [long]) is None
    assert mean_loss(model, Prompter(tokenizer), [long, rows[0]]) == mean_loss(model, Prompter(tokenizer), [rows[0]])
    answers, tokens_per_second = complete(model, tokenizer, Prompter(tokenizer), [long, rows[0]])
    assert answers == ["", rows[0].output]
    assert tokens_per_second
    assert tokens_per_second > 0


def test_a_model_that_continuous_batching_computes_wrong_is_completed_as_by_generate() -> None:
    model, tokenizer = architectures.make("gptj")
    prompter = Prompter(tokenizer)
    row = Row("Write a list.", "", "<ul><li>one</li></ul>")
    [answer], _ = complete(model, tokenizer, prompter, [row])
    ids = torch.tensor([prompter.prompt_of(row)])
    with torch.inference_mode():
        tokens = model.generate(ids, do_sample=False, max_new_tokens=1 + len(row.output))
    assert answer == tokenizer.decode(tokens[0, ids.shape[1] :], skip_special_tokens=True)


def test_the_starter_model_reproduces_its_held_out_rows(rows: list[Row]) -> None:
    measured = measure(Variant("original", STARTER, seconds=100), PromptOptions(), rows[:3], lambda: False)
    assert (measured.exact_match, measured.rows) == (1, 3)
    assert measured.chrf == pytest.approx(100)
    assert measured.perplexity == pytest.approx(1, abs=0.1)
    assert measured.memory_bytes == tensor_bytes(load(STARTER)[0])
    assert measured.disk_bytes == 15_745_384
    assert measured.seconds is not None
    assert measured.seconds > 100


def test_the_page_in_a_chat_models_answer_is_compared_with_the_reference(tmp_path: Path) -> None:
    page = "<title>Tea</title>\n<p>Tea</p>\n"
    make_reciting(tmp_path / "chat", ["Here it is:\n", "```html\n", *page.splitlines(keepends=True), "```"])
    chat = Variant("original", ModelRef(Source.LOCAL, str(tmp_path / "chat")))
    row = Row("Create a page.", "", page)
    measured = measure(chat, PromptOptions(), [row], lambda: False)
    assert measured.exact_match == 1
    assert measured.chrf == pytest.approx(100)


def test_each_variant_is_measured(variants: dict[str, MeasuredVariant], quantized: Quantization) -> None:
    assert list(variants) == ["original", "gptq", "round-to-nearest", "bitsandbytes-8", "bitsandbytes-4"]
    original, gptq, nearest = (variants[name] for name in ("original", "gptq", "round-to-nearest"))
    for measured in variants.values():
        assert measured.error is None
        assert measured.rows == 5
        assert measured.perplexity
        if measured is not nearest:
            assert measured.disk_bytes
            assert measured.memory_bytes
            assert measured.exact_match is not None
            assert measured.chrf is not None
            assert measured.tokens_per_second
        if measured not in (original, nearest):
            assert original.memory_bytes is not None
            assert measured.memory_bytes is not None
            assert measured.memory_bytes < original.memory_bytes
    assert gptq.disk_bytes is not None
    assert original.disk_bytes is not None
    assert gptq.disk_bytes < original.disk_bytes
    assert (nearest.disk_bytes, nearest.memory_bytes, nearest.exact_match) == (None, None, None)


def test_a_variant_that_cannot_be_loaded_has_an_error_and_the_others_are_measured(
    rows: list[Row], tmp_path: Path
) -> None:
    missing = ModelRef(Source.LOCAL, str(tmp_path / "nowhere"))
    variants = measure_variants(
        STARTER,
        missing,
        QuantizationOptions(),
        PromptOptions(),
        rows[:1],
        quantize_seconds=1.0,
        should_stop=lambda: False,
    )
    original, gptq = next(variants), next(variants)
    assert original.error is None
    assert gptq.error is not None
    assert "nowhere" in gptq.error
    assert gptq.perplexity is None
    assert gptq.percent_done == pytest.approx(40)


def test_measuring_stops_when_it_is_told_to(rows: list[Row]) -> None:
    calls = 0

    def later() -> bool:
        nonlocal calls
        calls += 1
        return calls > len(rows) + 1

    with pytest.raises(Stopped):
        measure(Variant("original", STARTER), PromptOptions(), rows, later)
    assert calls == len(rows) + 2, "once for each row, and then while the completions come"


def test_rounding_to_2_bits_raises_the_perplexity(rows: list[Row]) -> None:
    whole = measure(Variant("original", STARTER), PromptOptions(), rows[:2], lambda: False)
    options = QuantizationOptions(bits=2, group_size=256)
    nearest = measure(Variant("round-to-nearest", STARTER, rounding=options), PromptOptions(), rows[:2], lambda: False)
    assert whole.perplexity is not None
    assert nearest.perplexity is None or nearest.perplexity > whole.perplexity
    assert nearest.perplexity is None or math.isfinite(nearest.perplexity)
