"""The engine on the starter model: on the GPU where there is one, in float32 on either."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

import models.starter
from models.loading.loader import load
from models.loading.refs import ModelRef, Source
from models.prompts.template import build_prompt
from models.serving.engine import Completion, EngineFailed, FinishReason, PromptTooLong, RequestError, Sampling
from models.serving.in_process.batching import EngineLimits
from models.serving.in_process.engine import Engine

STARTER = ModelRef(Source.BUNDLED, "starter")
HELD_OUT = models.starter.HELD_OUT
# So hot that nearly any token may come: it runs on to its length, where the trained model would end.
HOT = Sampling(temperature=50.0, seed=1, max_new_tokens=200)


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load(STARTER, device=device, dtype=torch.float32)


@pytest.fixture(scope="module")
def engine(loaded: tuple[Any, Any]) -> Iterator[Engine]:
    engine = Engine(*loaded)
    yield engine
    engine.close()


@pytest.fixture
def mortal_engine(engine: Engine) -> Iterator[Engine]:
    """An engine of the test's own, over a model that no other engine runs."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    engine = Engine(*load(STARTER, device=device, dtype=torch.float32))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    rows = [json.loads(line) for line in HELD_OUT.read_text().splitlines()][::25]
    return [build_prompt(row["instruction"], row["input"]) for row in rows]


@pytest.fixture(scope="module")
def references(loaded: tuple[Any, Any], prompts: list[str]) -> list[list[int]]:
    """What `model.generate` makes of each prompt alone, greedily, as token ids."""
    model, tokenizer = loaded
    ids = []
    for prompt in prompts:
        inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            output = model.generate(**inputs, do_sample=False, max_new_tokens=300)
        ids.append(output[0, inputs["input_ids"].shape[1] :].tolist())
    return ids


def run(engine: Engine, prompt: str, sampling: Sampling) -> Completion:
    return engine.submit(prompt, sampling).future.result(120)


def assert_same(completion: Completion, reference: list[int], tokenizer: Any) -> None:
    assert completion.completion_tokens == len(reference)
    assert completion.text == tokenizer.decode(reference, skip_special_tokens=True)


GREEDY = Sampling(max_new_tokens=300)


def test_greedy_output_is_that_of_generate_alone(
    engine: Engine, prompts: list[str], references: list[list[int]]
) -> None:
    for prompt, reference in zip(prompts[:5], references, strict=False):
        assert_same(run(engine, prompt, GREEDY), reference, engine.tokenizer)


def test_greedy_output_is_that_of_generate_in_a_mixed_batch(
    engine: Engine, prompts: list[str], references: list[list[int]]
) -> None:
    neighbours = [engine.submit(prompt, HOT) for prompt in prompts]
    requests = [engine.submit(prompt, GREEDY) for prompt in prompts]
    for request, reference in zip(requests, references, strict=True):
        assert_same(request.future.result(120), reference, engine.tokenizer)
    assert all(neighbour.future.result(120).text for neighbour in neighbours)


def test_a_request_that_joins_late_changes_nothing(
    engine: Engine, prompts: list[str], references: list[list[int]]
) -> None:
    first = engine.submit(prompts[0], GREEDY)
    while first.tokens_done < 5 and not first.future.done():
        time.sleep(0.001)
    second = engine.submit(prompts[1], GREEDY)
    assert_same(first.future.result(120), references[0], engine.tokenizer)
    assert_same(second.future.result(120), references[1], engine.tokenizer)


def test_a_seed_gives_the_same_sample_again_whatever_shares_the_batch(engine: Engine, prompts: list[str]) -> None:
    sampling = Sampling(temperature=1.0, top_p=0.9, top_k=50, seed=42, max_new_tokens=80)
    alone = run(engine, prompts[0], sampling)
    crowd = [engine.submit(prompt, HOT) for prompt in prompts]
    again = run(engine, prompts[0], sampling)
    other = run(engine, prompts[0], Sampling(temperature=50.0, seed=43, max_new_tokens=80))
    assert again == alone
    assert other.text != alone.text
    for request in crowd:
        request.cancel()


def test_without_a_seed_samples_differ(engine: Engine, prompts: list[str]) -> None:
    sampling = Sampling(temperature=50.0, max_new_tokens=40)
    assert run(engine, prompts[0], sampling).text != run(engine, prompts[0], sampling).text


def test_top_k_of_one_is_greedy(engine: Engine, prompts: list[str], references: list[list[int]]) -> None:
    sampling = Sampling(temperature=1.5, top_k=1, seed=5, max_new_tokens=300)
    assert_same(run(engine, prompts[0], sampling), references[0], engine.tokenizer)


def test_a_completion_ends_where_the_model_ends_it_or_at_its_length(engine: Engine, prompts: list[str]) -> None:
    ended = run(engine, prompts[0], Sampling())
    cut = run(engine, prompts[0], Sampling(max_new_tokens=7))
    assert ended.finish_reason == FinishReason.STOP
    assert (cut.finish_reason, cut.completion_tokens) == (FinishReason.LENGTH, 7)
    assert ended.text.startswith(cut.text)
    assert "</s>" not in ended.text
    assert engine.tokenizer.eos_token not in ended.text


def test_a_stop_string_ends_the_completion_though_it_spans_tokens(engine: Engine, prompts: list[str]) -> None:
    whole = run(engine, prompts[0], GREEDY)
    stop = whole.text[20:32]
    stopped = run(engine, prompts[0], Sampling(max_new_tokens=300, stop=("not in it", stop)))
    assert stopped.finish_reason == FinishReason.STOP
    assert stopped.text == whole.text[: whole.text.index(stop)]
    assert stopped.completion_tokens < whole.completion_tokens


def test_a_cancelled_request_keeps_what_it_had_made_and_its_neighbours_go_on(
    engine: Engine, prompts: list[str], references: list[list[int]]
) -> None:
    neighbour = engine.submit(prompts[1], GREEDY)
    request = engine.submit(prompts[0], HOT)
    while request.tokens_done < 10:
        time.sleep(0.001)
    request.cancel()
    cancelled = request.future.result(1)
    assert cancelled.finish_reason == FinishReason.CANCELLED
    assert 10 <= cancelled.completion_tokens < 200
    assert run(engine, prompts[0], HOT).text.startswith(cancelled.text.rstrip("\N{REPLACEMENT CHARACTER}"))
    assert_same(neighbour.future.result(120), references[1], engine.tokenizer)
    request.cancel()  # once more does nothing


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(engine: Engine) -> None:
    prompt = "page " * 5000
    tokens = len(engine.tokenizer(prompt)["input_ids"])
    with pytest.raises(PromptTooLong, match=rf"{tokens} tokens and the context {engine.context_length}"):
        engine.submit(prompt, Sampling())


def test_a_budget_larger_than_what_is_left_is_refused_with_what_is_left(engine: Engine, prompts: list[str]) -> None:
    tokens = len(engine.tokenizer(prompts[0])["input_ids"])
    with pytest.raises(RequestError, match=f"at most {engine.context_length - tokens} are left"):
        engine.submit(prompts[0], Sampling(max_new_tokens=engine.context_length))
    assert run(engine, prompts[0], Sampling(max_new_tokens=1)).completion_tokens == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_new_tokens", 0),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", float("nan")),
        ("top_k", -1),
        ("seed", 2**63),
        ("stop", ("",)),
    ],
)
def test_sampling_values_out_of_range_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        Sampling(**{field: value})


def test_more_requests_than_the_batch_holds_all_finish_and_leave_nothing_behind(
    engine: Engine, prompts: list[str]
) -> None:
    before = engine.statistics()
    count = 3 * engine.limits.max_requests
    sampling = Sampling(max_new_tokens=12)
    with ThreadPoolExecutor(8) as threads:
        requests = list(threads.map(lambda n: engine.submit(prompts[n % len(prompts)], sampling), range(count)))
    assert all(request.future.result(120).completion_tokens == 12 for request in requests)
    after = engine.statistics()
    assert after.requests_finished - before.requests_finished == count
    assert after.tokens_generated - before.tokens_generated == 12 * count
    assert (after.running, after.waiting, after.cache_blocks_used) == (0, 0, 0)


def test_the_cache_is_bounded_and_a_tight_one_still_serves_everybody(
    loaded: tuple[Any, Any], prompts: list[str], references: list[list[int]]
) -> None:
    tight = Engine(*loaded, EngineLimits(cache_tokens=1024, page_size=64, max_requests=8))
    try:
        requests = [tight.submit(prompt, Sampling(max_new_tokens=300)) for prompt in prompts]
        assert tight.statistics().cache_blocks_total == 16
        for request, reference in zip(requests, references, strict=True):
            assert_same(request.future.result(120), reference, tight.tokenizer)
    finally:
        tight.close()


def test_an_idle_engine_costs_next_to_nothing(engine: Engine) -> None:
    run(engine, "### Instruction:\n", Sampling(max_new_tokens=2))
    time.sleep(0.2)
    before = time.process_time()
    time.sleep(1)
    assert time.process_time() - before < 0.15


def test_when_the_engine_dies_its_requests_fail_so_that_they_can_run_again(
    mortal_engine: Engine, prompts: list[str]
) -> None:
    def break_down(*_: Any) -> None:
        raise RuntimeError("the device fell off the bus")

    running = mortal_engine.submit(prompts[0], HOT)
    while running.tokens_done < 3:
        time.sleep(0.001)
    model: Any = mortal_engine._batcher.model
    hook = model.register_forward_pre_hook(break_down)
    with pytest.raises(EngineFailed):
        running.future.result(30)
    hook.remove()
    deadline = time.monotonic() + 10
    while mortal_engine.alive:
        assert time.monotonic() < deadline, "an engine that failed a step must not take more requests"
        time.sleep(0.01)
    with pytest.raises(EngineFailed):
        mortal_engine.submit(prompts[0], HOT)


def test_closing_fails_what_still_runs(mortal_engine: Engine, prompts: list[str]) -> None:
    request = mortal_engine.submit(prompts[0], HOT)
    mortal_engine.close()
    with pytest.raises(EngineFailed):
        request.future.result(5)
    mortal_engine.close()
