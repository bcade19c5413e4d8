"""The engine that runs `generate`, with a tiny model that continuous batching can't serve."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from models.serving.engine import EngineFailed, FinishReason, PromptTooLong, RequestError, Sampling
from models.serving.in_process.engine import InProcessEngine
from models.serving.in_process.limits import EngineLimits
from models.serving.in_process.plain import PlainEngine
from tests.models import architectures, census
from tests.processes import LIMIT_SECONDS, eventually

GREEDY = Sampling(max_new_tokens=census.TOKENS)
LONG = Sampling(max_new_tokens=200)
LIMITS = EngineLimits(cache_tokens=4096, page_size=64)
PROMPTS = census.prompts()


@pytest.fixture(scope="module")
def engine() -> Iterator[PlainEngine]:
    engine = PlainEngine(*architectures.make("gpt2"), LIMITS)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """What `generate` completes each prompt with, alone."""
    return census.expected(*architectures.make("gpt2"))


def text(engine: Any, prompt: list[int], sampling: Sampling) -> str:
    return str(engine.submit(prompt, sampling).future.result(LIMIT_SECONDS).text)


def test_requests_of_one_length_that_end_at_different_tokens_do_not_change_each_other(
    engine: PlainEngine, texts: list[str]
) -> None:
    limits = (3, 20, 7)
    requests = [engine.submit(PROMPTS[1], Sampling(max_new_tokens=limit)) for limit in limits]
    completions = [request.future.result(LIMIT_SECONDS) for request in requests]
    assert [completion.text for completion in completions] == [texts[1][:limit] for limit in limits]
    assert {completion.finish_reason for completion in completions} == {FinishReason.LENGTH}


def test_a_seed_draws_the_same_tokens_as_in_continuous_batching() -> None:
    sampling = Sampling(temperature=1.5, top_p=0.9, top_k=50, seed=42, max_new_tokens=40)
    drawn = []
    for kind in (PlainEngine, InProcessEngine):
        engine = kind(*architectures.make("llama"))
        neighbour = engine.submit(PROMPTS[2], Sampling(temperature=5.0, seed=1, max_new_tokens=40))
        drawn.append(text(engine, PROMPTS[1], sampling))
        neighbour.future.result(LIMIT_SECONDS)
        engine.close()
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 10


def test_stop_strings_and_stop_tokens_end_a_request_and_do_not_show(engine: PlainEngine, texts: list[str]) -> None:
    stop = texts[1][5:7]
    [token] = engine.tokenizer(texts[1][6], add_special_tokens=False)["input_ids"]
    by_text = engine.submit(PROMPTS[1], replace(GREEDY, stop=(stop,))).future.result(LIMIT_SECONDS)
    by_token = engine.submit(PROMPTS[1], replace(GREEDY, stop_token_ids=(token,))).future.result(LIMIT_SECONDS)
    assert by_text.text == texts[1][: texts[1].index(stop)]
    assert by_token.text == texts[1][: texts[1].index(texts[1][6])]
    assert by_text.finish_reason == by_token.finish_reason == FinishReason.STOP


def test_a_cancelled_request_keeps_its_text_and_its_neighbour_goes_on(engine: PlainEngine) -> None:
    whole = text(engine, PROMPTS[2], LONG)
    cancelled, neighbour = engine.submit(PROMPTS[1], LONG), engine.submit(PROMPTS[2], LONG)
    while cancelled.tokens_done < 3:
        time.sleep(0.001)
    cancelled.cancel()
    completion = cancelled.future.result(LIMIT_SECONDS)
    assert completion.finish_reason == FinishReason.CANCELLED
    assert 3 <= completion.completion_tokens < 200
    assert neighbour.future.result(LIMIT_SECONDS).text == whole


def test_a_request_that_waits_can_be_cancelled(engine: PlainEngine) -> None:
    running = engine.submit(PROMPTS[1], LONG)
    while not running.tokens_done:
        time.sleep(0.001)
    waiting = engine.submit(PROMPTS[3], LONG)
    waiting.cancel()
    assert waiting.future.result(LIMIT_SECONDS).completion_tokens == 0
    assert running.future.result(LIMIT_SECONDS).completion_tokens == 200


def test_more_requests_than_fit_all_finish(texts: list[str]) -> None:
    limits = EngineLimits(cache_tokens=512, page_size=64, max_requests=3)
    engine = PlainEngine(*architectures.make("gpt2"), limits)
    requests = [engine.submit(PROMPTS[number % 4], GREEDY) for number in range(20)]
    assert [each.future.result(LIMIT_SECONDS).text for each in requests] == texts * 5
    statistics = engine.statistics()
    assert (statistics.running, statistics.waiting, statistics.requests_finished) == (0, 0, 20)
    engine.close()


def test_a_long_text_does_not_change_a_later_short_one_with_dynamic_positions() -> None:
    """transformers stretches the positions of a dynamic model by its longest text so far, within one `generate`."""
    model, tokenizer = architectures.make("llama-dynamic")
    # so that the texts are beyond the positions that the model was made with
    model.model.rotary_emb.original_max_seq_len = model.model.rotary_emb.max_seq_len_cached = 16
    engine = PlainEngine(model, tokenizer)
    fresh = text(engine, PROMPTS[1], GREEDY)
    text(engine, PROMPTS[3], LONG)
    assert text(engine, PROMPTS[1], GREEDY) == fresh
    engine.close()


def test_requests_that_can_not_run_are_refused(engine: PlainEngine) -> None:
    with pytest.raises(PromptTooLong, match="300 tokens, and the context 256"):
        engine.submit([5] * 300, Sampling())
    with pytest.raises(RequestError, match="vocabulary"):
        engine.submit([5000], Sampling())
    with pytest.raises(RequestError, match="empty"):
        engine.submit([], Sampling())


def test_closing_the_engine_fails_its_pending_requests() -> None:
    engine = PlainEngine(*architectures.make("gpt2"), LIMITS)
    running, waiting = engine.submit(PROMPTS[1], LONG), engine.submit(PROMPTS[3], LONG)
    while not running.tokens_done:
        time.sleep(0.001)
    engine.close()
    for request in (running, waiting):
        with pytest.raises(EngineFailed):
            request.future.result(LIMIT_SECONDS)
    with pytest.raises(EngineFailed):
        engine.submit(PROMPTS[1], GREEDY)
    engine.close()


def test_when_the_model_fails_the_requests_fail_with_an_error_that_allows_another_attempt() -> None:
    def break_down(*_: Any) -> None:
        raise RuntimeError("the device is lost")

    model, tokenizer = architectures.make("gpt2")
    engine = PlainEngine(model, tokenizer, LIMITS)
    running, waiting = engine.submit(PROMPTS[1], LONG), engine.submit(PROMPTS[3], LONG)
    model.register_forward_pre_hook(break_down)
    for request in (running, waiting):
        with pytest.raises(EngineFailed):
            request.future.result(LIMIT_SECONDS)
    eventually(lambda: not engine.alive, "an engine whose model failed stops accepting requests")


def test_the_generation_configuration_of_the_model_is_not_used_and_stays() -> None:
    model, tokenizer = architectures.make("gpt2")
    first = PlainEngine(model, tokenizer, LIMITS)
    plain = text(first, PROMPTS[1], GREEDY)
    first.close()
    model.generation_config.update(repetition_penalty=5.0, do_sample=True, temperature=9.0)
    engine = PlainEngine(model, tokenizer, LIMITS)
    assert text(engine, PROMPTS[1], GREEDY) == plain
    engine.close()
    assert model.generation_config.repetition_penalty == 5.0
    assert torch.is_grad_enabled()
