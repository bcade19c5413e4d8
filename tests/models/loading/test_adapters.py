"""Adapters in the pool: they share the weights of their base, and generate what PEFT generates."""

import json
import shutil
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

import models.serving.pool
import models.starter
from models.loading.adapters import apply, share
from models.loading.loader import default_device, describe, load
from models.loading.refs import ModelLoadError, ModelRef, Source
from models.prompts.templates import build_prompt
from models.serving.engine import Engine, Sampling
from models.serving.pool import ModelPool
from tests.adapters import STARTER, generated, make_adapter, plain_peft

PROMPT = build_prompt("Create a web page with a heading and a list.")
TOKENS = 60
# Room for the float32 weights, one cache of 0.3 of the budget, and almost a second one.
TIGHT = 3 * 2 * describe(STARTER).weight_bytes


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return replace(STARTER, adapter=make_adapter(tmp_path_factory.mktemp("adapter")))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    folder = tmp_path_factory.mktemp("other")
    return replace(STARTER, adapter=make_adapter(folder, seed=1, r=8, lora_alpha=24))


@pytest.fixture(scope="module", autouse=True)
def float32() -> Iterator[None]:
    """Pools load in float32 on a GPU too: in bfloat16, rounding could change a token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models.serving.pool, "load", lambda ref, device: load(ref, device, torch.float32))
        yield


@pytest.fixture(scope="module")
def pool() -> Iterator[ModelPool]:
    pool = ModelPool(2**29)
    yield pool
    pool.close()


@pytest.fixture
def broken(adapter: ModelRef, tmp_path: Path) -> Callable[..., ModelRef]:
    """An adapter whose configuration is changed."""

    def change(**config: object) -> ModelRef:
        folder = tmp_path / "broken"
        shutil.copytree(str(adapter.adapter), folder)
        file = folder / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | config))
        return replace(STARTER, adapter=str(folder))

    return change


def completion(engine: Engine) -> str:
    return engine.submit(PROMPT, Sampling(max_new_tokens=TOKENS)).future.result(60).text


def weights(engine: Engine) -> set[int]:
    """The addresses of the weights of the engine's model, without those of an adapter."""
    in_process: Any = engine
    model = in_process._batcher.model
    return {tensor.data_ptr() for name, tensor in model.named_parameters() if "lora_" not in name}


def refuse(ref: ModelRef, reason: str) -> None:
    with pytest.raises(ModelLoadError, match=reason) as refused:
        load(ref)
    assert "the adapter" in str(refused.value)
    assert str(ref.adapter) not in str(refused.value)


def test_adapters_generate_what_peft_generates_and_the_base_is_unchanged(
    pool: ModelPool, adapter: ModelRef, other: ModelRef
) -> None:
    with pool.borrow(STARTER) as base, pool.borrow(adapter) as one, pool.borrow(other) as two:
        running = [engine.submit(PROMPT, Sampling(max_new_tokens=TOKENS)) for engine in (base, one, two)]
        texts = [request.future.result(60).text for request in running]
    device = default_device()
    plain = load(STARTER, device, torch.float32)[0]
    assert texts[0] == generated(plain, PROMPT, TOKENS)
    assert texts[1:] == [generated(plain_peft(str(ref.adapter), device), PROMPT, TOKENS) for ref in (adapter, other)]
    assert len(set(texts)) == 3


def test_adapters_share_the_weights_of_their_base(pool: ModelPool, adapter: ModelRef, other: ModelRef) -> None:
    with pool.borrow(adapter) as one, pool.borrow(STARTER) as base, pool.borrow(other) as two:
        assert weights(one) == weights(base) == weights(two)


def test_the_weights_of_a_base_are_counted_once(adapter: ModelRef, other: ModelRef) -> None:
    pool = ModelPool(2**28)
    with pool.borrow(STARTER) as engine:
        caches = engine.cache_bytes
        base = pool.statistics().bytes - caches
    for ref in (adapter, other):
        with pool.borrow(ref) as engine:
            caches += engine.cache_bytes
    stored = sum(
        tensor.numel() * 4
        for ref in (adapter, other)
        for tensor in load_file(Path(str(ref.adapter), "adapter_model.safetensors")).values()
    )
    assert pool.statistics().bytes == base + stored + caches
    assert pool.statistics().models == 3
    pool.close()


def test_making_room_for_an_adapter_keeps_its_base_loaded(adapter: ModelRef, other: ModelRef) -> None:
    tight = ModelPool(TIGHT, device="cpu")
    with tight.borrow(STARTER) as base:
        before = weights(base)
        assert completion(base)
    for ref in (adapter, other, adapter):
        with tight.borrow(ref) as engine:
            assert weights(engine) == before
        assert tight.statistics().bytes <= TIGHT
    assert not base.alive
    tight.close()


def test_weights_are_freed_with_the_last_engine_that_uses_them(adapter: ModelRef, tmp_path: Path) -> None:
    copy = ModelRef(Source.LOCAL, str(tmp_path / "copy"))
    shutil.copytree(models.starter.FOLDER, copy.location)
    tight = ModelPool(TIGHT, device="cpu")
    for ref in (STARTER, adapter):
        with tight.borrow(ref):
            weight = weakref.ref(tight._bases[STARTER].model.get_input_embeddings().weight)
    with tight.borrow(copy):
        assert weight() is None
        assert tight.statistics().models == 1
        assert tight.statistics().bytes <= TIGHT
    tight.close()


def test_an_adapter_is_loaded_again_after_its_engine_died(pool: ModelPool, adapter: ModelRef) -> None:
    with pool.borrow(adapter) as dead:
        text = completion(dead)
        dead.close()
    with pool.borrow(adapter) as engine:
        assert completion(engine) == text


def test_a_model_with_an_adapter_loads_without_a_pool(adapter: ModelRef) -> None:
    model, _ = load(adapter, dtype=torch.float32)
    assert generated(model, PROMPT, TOKENS) == generated(
        plain_peft(str(adapter.adapter), default_device()), PROMPT, TOKENS
    )


def test_a_budget_without_room_for_a_cache_is_refused_with_its_size_and_no_path(adapter: ModelRef) -> None:
    pool = ModelPool(2 * describe(STARTER).weight_bytes + 10_000)
    message = r"^[\w.-]+ over starter: the memory budget of [\d,]+ bytes is too small"
    with pytest.raises(ModelLoadError, match=message), pool.borrow(adapter):
        pass
    assert (pool.statistics().models, pool.statistics().bytes) == (0, 0)


def test_a_missing_adapter_is_named(tmp_path: Path) -> None:
    refuse(replace(STARTER, adapter=str(tmp_path / "nowhere")), "no adapter_config.json")


def test_a_pickled_adapter_is_not_loaded(broken: Callable[..., ModelRef]) -> None:
    ref = broken()
    file = Path(str(ref.adapter), "adapter_model.safetensors")
    torch.save(load_file(file), file.with_name("adapter_model.bin"))
    file.unlink()
    refuse(ref, "no adapter_model.safetensors")


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_broken_file_is_refused(broken: Callable[..., ModelRef], file: str) -> None:
    ref = broken()
    Path(str(ref.adapter), file).write_text("{ cut off")
    refuse(ref, "can't be loaded")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"r": 5}, "does not fit"),
        ({"target_modules": ["q_proj"]}, "does not fit"),
        ({"target_modules": ["query_key_value"]}, "query_key_value"),
        ({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4}, "only LoRA"),
        ({"peft_type": "of the future"}, "can't be loaded"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"megatron_config": {}, "megatron_core": "antigravity"}, "Megatron"),
    ],
)
def test_an_adapter_that_does_not_fit_or_would_change_its_base_is_refused(
    broken: Callable[..., ModelRef], config: dict[str, Any], reason: str
) -> None:
    refuse(broken(**config), reason)


def test_an_adapter_that_lacks_weights_or_has_more_is_refused(broken: Callable[..., ModelRef]) -> None:
    ref = broken()
    file = Path(str(ref.adapter), "adapter_model.safetensors")
    tensors = load_file(file)
    save_file(tensors | {"base_model.model.model.embed_tokens.weight": torch.zeros(3072, 256)}, file)
    refuse(ref, "embed_tokens")
    tensors.popitem()
    save_file(tensors, file)
    refuse(ref, "does not fit")


def test_nothing_that_the_configuration_names_is_downloaded(
    broken: Callable[..., ModelRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object, **__: object) -> None:
        raise AssertionError("loading an adapter must not access the hub")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.file_download.get_hf_file_metadata", fetch)
    monkeypatch.setattr("huggingface_hub.HfApi.file_exists", fetch)
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", fetch)
    ref = broken(base_model_name_or_path="some/model", revision="main")
    assert load(ref)


def test_a_failed_load_leaves_the_base_unchanged(pool: ModelPool, broken: Callable[..., ModelRef]) -> None:
    with pool.borrow(STARTER) as base:
        text, before = completion(base), pool.statistics()
        with pytest.raises(ModelLoadError), pool.borrow(broken(r=5)):
            pass
        assert completion(base) == text
    assert pool.statistics() == before


def test_an_adapter_with_biases_leaves_those_of_its_base_unchanged(tmp_path: Path) -> None:
    def biased() -> Any:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            attention_bias=True,
        )  # fmt: skip
        return LlamaForCausalLM(config).eval()

    trained = get_peft_model(biased(), LoraConfig(target_modules=["q_proj"], bias="all"))
    for name, weights in trained.named_parameters():
        if weights.requires_grad:
            torch.nn.init.normal_(weights, std=0.3)
        assert weights.requires_grad == ("lora_" in name or "bias" in name)
    trained.save_pretrained(str(tmp_path))

    base, ids = biased(), torch.arange(8)[None]
    with torch.inference_mode():
        before = base(ids).logits
        adapted = apply(share(base), tmp_path)(ids).logits
        assert torch.equal(base(ids).logits, before)
        torch.testing.assert_close(adapted, trained.eval()(ids).logits)
    assert not torch.allclose(adapted, before, atol=1e-2)


def test_an_adapter_is_applied_without_a_state_dict(
    adapter: ModelRef, other: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEFT 0.21. `state_dict()` makes bitsandbytes change weights in place that other engines read."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("applying an adapter must not call state_dict()")

    model, _ = load(STARTER, "cpu")
    monkeypatch.setattr(torch.nn.Module, "state_dict", refuse)
    for ref in (adapter, other):
        weights = load_file(Path(str(ref.adapter), "adapter_model.safetensors"))
        applied = dict(apply(share(model), Path(str(ref.adapter))).named_parameters())
        assert len(weights) == sum("lora_" in name for name in applied)
