"""The engine with the starter model in float32, on the GPU if there is one."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch

import models.starter
from models.loading.loader import load
from models.loading.refs import ModelRef, Source
from models.prompts.templates import build_prompt
from models.serving.engine import Completion, EngineFailed, FinishReason, PromptTooLong, RequestError, Sampling
from models.serving.in_process.engine import InProcessEngine, InProcessRequest
from models.serving.in_process.limits import EngineLimits
from tests.processes import LIMIT_SECONDS, eventually

STARTER = ModelRef(Source.BUNDLED, "starter")
HELD_OUT = models.starter.HELD_OUT

GREEDY = Sampling(max_new_tokens=300)
# At this temperature almost any token can come, so the completion goes on where the trained model would end it.
HOT = Sampling(temperature=50.0, seed=1, max_new_tokens=200)
LONG = replace(HOT, max_new_tokens=1500)


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load(STARTER, device=device, dtype=torch.float32)


@pytest.fixture(scope="module")
def engine(loaded: tuple[Any, Any]) -> Iterator[InProcessEngine]:
    engine = InProcessEngine(*loaded)
    yield engine
    engine.close()


@pytest.fixture
def mortal_engine(engine: InProcessEngine) -> Iterator[InProcessEngine]:
    """An engine that a test may break, over a model that no other engine runs."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    engine = InProcessEngine(*load(STARTER, device=device, dtype=torch.float32))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    rows = [json.loads(line) for line in HELD_OUT.read_text().splitlines()][::25]
    return [build_prompt(row["instruction"], row["input"]) for row in rows]


@pytest.fixture(scope="module")
def references(loaded: tuple[Any, Any], prompts: list[str]) -> list[list[int]]:
    """The token ids that `model.generate` completes each prompt with, alone and greedily."""
    model, tokenizer = loaded
    ids = []
    for prompt in prompts:
        inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            output = model.generate(**inputs, do_sample=False, max_new_tokens=300)
        ids.append(output[0, inputs["input_ids"].shape[1] :].tolist())
    return ids


def run(engine: InProcessEngine, prompt: str, sampling: Sampling) -> Completion:
    return engine.submit(prompt, sampling).future.result(LIMIT_SECONDS)


def wait_for_tokens(request: InProcessRequest, count: int) -> None:
    while request.tokens_done < count and not request.future.done():
        time.sleep(0.001)


def active_requests(engine: InProcessEngine) -> dict[str, Any]:
    processor: Any = engine._batcher.batch_processor
    requests: dict[str, Any] = processor.scheduler.active_requests
    return requests


def assert_same(completion: Completion, reference: list[int], tokenizer: Any) -> None:
    assert completion.completion_tokens == len(reference)
    assert completion.text == tokenizer.decode(reference, skip_special_tokens=True)


def test_the_greedy_output_equals_that_of_generate(
    engine: InProcessEngine, prompts: list[str], references: list[list[int]]
) -> None:
    for prompt, reference in zip(prompts[:5], references, strict=False):
        assert_same(run(engine, prompt, GREEDY), reference, engine.tokenizer)


def test_the_greedy_output_in_a_mixed_batch_equals_that_of_generate(
    engine: InProcessEngine, prompts: list[str], references: list[list[int]]
) -> None:
    neighbours = [engine.submit(prompt, HOT) for prompt in prompts]
    requests = [engine.submit(prompt, GREEDY) for prompt in prompts]
    for request, reference in zip(requests, references, strict=True):
        assert_same(request.future.result(LIMIT_SECONDS), reference, engine.tokenizer)
    assert all(neighbour.future.result(LIMIT_SECONDS).text for neighbour in neighbours)


def test_a_request_that_joins_late_does_not_change_the_others(
    engine: InProcessEngine, prompts: list[str], references: list[list[int]]
) -> None:
    first = engine.submit(prompts[0], GREEDY)
    wait_for_tokens(first, 5)
    second = engine.submit(prompts[1], GREEDY)
    assert_same(first.future.result(LIMIT_SECONDS), references[0], engine.tokenizer)
    assert_same(second.future.result(LIMIT_SECONDS), references[1], engine.tokenizer)


def test_a_seed_gives_the_same_sample_again_whatever_shares_the_batch(
    engine: InProcessEngine, prompts: list[str]
) -> None:
    sampling = Sampling(temperature=1.0, top_p=0.9, top_k=50, seed=42, max_new_tokens=80)
    alone = run(engine, prompts[0], sampling)
    neighbours = [engine.submit(prompt, HOT) for prompt in prompts]
    again = run(engine, prompts[0], sampling)
    other_seed = run(engine, prompts[0], Sampling(temperature=50.0, seed=43, max_new_tokens=80))
    assert again == alone
    assert other_seed.text != alone.text
    for request in neighbours:
        request.cancel()


def test_samples_without_a_seed_differ(engine: InProcessEngine, prompts: list[str]) -> None:
    sampling = Sampling(temperature=50.0, max_new_tokens=40)
    assert run(engine, prompts[0], sampling).text != run(engine, prompts[0], sampling).text


def test_a_top_k_of_one_is_greedy(engine: InProcessEngine, prompts: list[str], references: list[list[int]]) -> None:
    sampling = Sampling(temperature=1.5, top_k=1, seed=5, max_new_tokens=300)
    assert_same(run(engine, prompts[0], sampling), references[0], engine.tokenizer)


def test_a_completion_ends_at_the_end_of_sequence_token_or_at_its_token_limit(
    engine: InProcessEngine, prompts: list[str]
) -> None:
    ended = run(engine, prompts[0], Sampling())
    cut = run(engine, prompts[0], Sampling(max_new_tokens=7))
    assert ended.finish_reason == FinishReason.STOP
    assert (cut.finish_reason, cut.completion_tokens) == (FinishReason.LENGTH, 7)
    assert ended.text.startswith(cut.text)
    assert "</s>" not in ended.text
    assert engine.tokenizer.eos_token not in ended.text


def test_token_ids_are_taken_as_they_are(engine: InProcessEngine, prompts: list[str]) -> None:
    ids = engine.tokenizer(prompts[0])["input_ids"]
    of_ids, of_text = engine.submit(ids, GREEDY), engine.submit(prompts[0], GREEDY)
    assert of_ids.future.result(LIMIT_SECONDS) == of_text.future.result(LIMIT_SECONDS)
    with pytest.raises(RequestError, match="token -1"):
        engine.submit([5, -1], GREEDY)


def test_a_stop_token_of_the_request_ends_it_and_does_not_show(
    engine: InProcessEngine, prompts: list[str], references: list[list[int]]
) -> None:
    """The token is an ordinary one of the tokenizer, as the end of a turn is in some models."""
    stop = references[0][12]
    place = references[0].index(stop)
    stopped = run(engine, prompts[0], replace(GREEDY, stop_token_ids=(stop,)))
    assert (stopped.finish_reason, stopped.completion_tokens) == (FinishReason.STOP, place + 1)
    assert stopped.text == engine.tokenizer.decode(references[0][:place])
    assert_same(run(engine, prompts[0], GREEDY), references[0], engine.tokenizer)


def test_an_end_token_that_is_no_special_token_does_not_show(
    loaded: tuple[Any, Any], prompts: list[str], references: list[list[int]]
) -> None:
    model, tokenizer = loaded
    end = references[0][12]
    place = references[0].index(end)
    model.config.eos_token_id, kept = end, model.config.eos_token_id
    engine = InProcessEngine(model, tokenizer)
    model.config.eos_token_id = kept
    try:
        ended = run(engine, prompts[0], GREEDY)
    finally:
        engine.close()
    assert (ended.finish_reason, ended.completion_tokens) == (FinishReason.STOP, place + 1)
    assert ended.text == tokenizer.decode(references[0][:place])


def test_a_stop_string_that_spans_tokens_ends_the_completion(engine: InProcessEngine, prompts: list[str]) -> None:
    whole = run(engine, prompts[0], GREEDY)
    stop = whole.text[20:32]
    stopped = run(engine, prompts[0], Sampling(max_new_tokens=300, stop=("not in it", stop)))
    assert stopped.finish_reason == FinishReason.STOP
    assert stopped.text == whole.text[: whole.text.index(stop)]
    assert stopped.completion_tokens < whole.completion_tokens


def test_a_cancelled_request_keeps_its_text_and_its_neighbours_go_on(
    engine: InProcessEngine, prompts: list[str], references: list[list[int]]
) -> None:
    neighbour = engine.submit(prompts[1], GREEDY)
    request = engine.submit(prompts[0], LONG)
    wait_for_tokens(request, 10)
    request.cancel()
    cancelled = request.future.result(LIMIT_SECONDS)
    assert cancelled.finish_reason == FinishReason.CANCELLED
    assert cancelled.completion_tokens >= 10
    same_length = replace(HOT, max_new_tokens=cancelled.completion_tokens)
    assert run(engine, prompts[0], same_length).text == cancelled.text
    assert_same(neighbour.future.result(LIMIT_SECONDS), references[1], engine.tokenizer)
    request.cancel()  # has no effect


def test_a_request_that_is_cancelled_at_once_takes_no_place_in_the_batch(
    engine: InProcessEngine, prompts: list[str]
) -> None:
    """The manager may read the cancellation before the request."""
    for _ in range(20):
        request = engine.submit(prompts[0], LONG)
        request.cancel()
        assert request.future.result(LIMIT_SECONDS).finish_reason == FinishReason.CANCELLED
    run(engine, prompts[0], Sampling(max_new_tokens=3))
    eventually(lambda: not active_requests(engine), "the cancelled requests leave the batch")


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(engine: InProcessEngine) -> None:
    prompt = "page " * 5000
    tokens = len(engine.tokenizer(prompt)["input_ids"])
    with pytest.raises(PromptTooLong, match=rf"{tokens} tokens, and the context {engine.context_length}"):
        engine.submit(prompt, Sampling())


def test_a_token_limit_beyond_the_context_is_refused_with_the_largest_possible(
    engine: InProcessEngine, prompts: list[str]
) -> None:
    tokens = len(engine.tokenizer(prompts[0])["input_ids"])
    with pytest.raises(RequestError, match=f"at most {engine.context_length - tokens}"):
        engine.submit(prompts[0], Sampling(max_new_tokens=engine.context_length))
    assert run(engine, prompts[0], Sampling(max_new_tokens=1)).completion_tokens == 1


def test_more_requests_than_slots_all_finish_and_free_the_cache(engine: InProcessEngine, prompts: list[str]) -> None:
    before = engine.statistics()
    count = 3 * engine.slots
    sampling = Sampling(max_new_tokens=12)
    with ThreadPoolExecutor(8) as threads:
        requests = list(threads.map(lambda n: engine.submit(prompts[n % len(prompts)], sampling), range(count)))
    assert all(request.future.result(LIMIT_SECONDS).completion_tokens == 12 for request in requests)
    after = engine.statistics()
    assert after.requests_finished - before.requests_finished == count
    assert after.tokens_generated - before.tokens_generated == 12 * count
    assert (after.running, after.waiting, after.cache_blocks_used) == (0, 0, 0)


def test_statistics_count_a_running_request_and_its_part_of_the_cache(
    engine: InProcessEngine, prompts: list[str]
) -> None:
    request = engine.submit(prompts[0], LONG)
    wait_for_tokens(request, 3)
    statistics = engine.statistics()
    request.cancel()
    assert (statistics.running, statistics.waiting) == (1, 0)
    assert statistics.cache_blocks_used >= 1


def test_requests_evicted_from_a_small_cache_finish_with_the_same_output(
    engine: InProcessEngine, loaded: tuple[Any, Any], prompts: list[str], references: list[list[int]]
) -> None:
    sampled = Sampling(temperature=1.0, top_p=0.9, seed=42, max_new_tokens=100)
    expected = run(engine, prompts[0], sampled)
    small = InProcessEngine(*loaded, EngineLimits(cache_tokens=1024, page_size=64, max_requests=8))
    try:
        requests = [small.submit(prompt, GREEDY) for prompt in prompts]
        sampled_requests = [small.submit(prompts[0], sampled) for _ in range(4)]
        assert small.statistics().cache_blocks_total == 16
        for request, reference in zip(requests, references, strict=True):
            assert_same(request.future.result(LIMIT_SECONDS), reference, small.tokenizer)
        assert [request.future.result(LIMIT_SECONDS) for request in sampled_requests] == [expected] * 4
    finally:
        small.close()


def test_an_idle_engine_waits_for_requests(engine: InProcessEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    run(engine, "### Instruction:\n", Sampling(max_new_tokens=2))
    rounds = []
    body = engine._batcher._generation_loop_body

    def count(*args: Any, **options: Any) -> bool:
        rounds.append(1)
        return body(*args, **options)

    monkeypatch.setattr(engine._batcher, "_generation_loop_body", count)
    time.sleep(1)
    assert len(rounds) < 50  # the loop looks for requests ten times per second; without a wait, thousands of times


def test_when_the_engine_dies_its_requests_fail_with_an_error_that_allows_another_attempt(
    mortal_engine: InProcessEngine, prompts: list[str]
) -> None:
    def break_down(*_: Any) -> None:
        raise RuntimeError("the device is lost")

    running = mortal_engine.submit(prompts[0], LONG)
    wait_for_tokens(running, 3)
    model: Any = mortal_engine._batcher.model
    hook = model.register_forward_pre_hook(break_down)
    with pytest.raises(EngineFailed):
        running.future.result(LIMIT_SECONDS)
    hook.remove()
    eventually(lambda: not mortal_engine.alive, "an engine that failed a step stops accepting requests")
    with pytest.raises(EngineFailed):
        mortal_engine.submit(prompts[0], HOT)


def test_closing_the_engine_fails_its_pending_requests(mortal_engine: InProcessEngine, prompts: list[str]) -> None:
    request = mortal_engine.submit(prompts[0], LONG)
    mortal_engine.close()
    with pytest.raises(EngineFailed):
        request.future.result(LIMIT_SECONDS)
    mortal_engine.close()
