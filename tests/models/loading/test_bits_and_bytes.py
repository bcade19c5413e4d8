"""The starter model with weights that bitsandbytes quantizes: served, with adapters, and in training."""

import inspect
import sys
import weakref
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

import models.starter
from models.loading.adapters import tensor_bytes
from models.loading.bits_and_bytes import states, tensors
from models.loading.loader import describe, load, loaded_bytes
from models.loading.refs import ModelLoadError, ModelRef, Source
from models.prompts.templates import build_prompt
from models.serving.engine import Engine, Sampling
from models.serving.in_process.engine import InProcessEngine
from models.serving.pool import ModelPool
from tests.adapters import STARTER, generated, make_adapter

PROMPT = build_prompt("Create a web page with a heading and a list.")
TOKENS = 40
IN_8_BITS, IN_4_BITS = replace(STARTER, bitsandbytes=8), replace(STARTER, bitsandbytes=4)

FOLDER = models.starter.FOLDER

each_way = pytest.mark.parametrize("ref", [IN_8_BITS, IN_4_BITS], ids=["8 bits", "4 bits"])


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_adapter(tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def pool() -> Iterator[ModelPool]:
    pool = ModelPool(2**29, device="cpu")
    yield pool
    pool.close()


def plain(ref: ModelRef) -> Any:
    """The model as transformers and PEFT load it."""
    config = BitsAndBytesConfig(
        load_in_8bit=ref.bitsandbytes == 8,
        load_in_4bit=ref.bitsandbytes == 4,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model: Any = AutoModelForCausalLM.from_pretrained(
        FOLDER, quantization_config=config, dtype=torch.float32, device_map={"": "cpu"}
    )
    return model if ref.adapter is None else PeftModel.from_pretrained(model, ref.adapter).eval()


def weights(engine: Engine) -> set[int]:
    """The addresses of the weights of the engine's model and of their scales, without those of an adapter."""
    assert isinstance(engine, InProcessEngine), "rounding by bitsandbytes was taken for a wrong text"
    model: Any = engine._batcher.model
    parameters = {tensor.data_ptr() for name, tensor in model.named_parameters() if "lora_" not in name}
    return parameters | {tensor.data_ptr() for state in states(model) for tensor in tensors(state)}


@each_way
def test_engines_that_share_weights_generate_what_transformers_and_peft_generate(
    pool: ModelPool, ref: ModelRef, adapter: str
) -> None:
    refs = (ref, replace(ref, adapter=adapter))
    with pool.borrow(refs[0]) as base, pool.borrow(refs[1]) as over:
        before = weights(base)
        running = [engine.submit(PROMPT, Sampling(max_new_tokens=TOKENS)) for engine in (base, over)]
        texts = [request.future.result(60).text for request in running]
        assert weights(base) == weights(over) == before
    assert texts == [generated(plain(each), PROMPT, TOKENS) for each in refs]
    assert texts[0] != texts[1]


@each_way
def test_a_model_loaded_for_training_has_a_gradient_after_an_evaluation(ref: ModelRef) -> None:
    """On some CPUs a step without gradients rewrites the weights into a form that has none."""
    ids = torch.arange(3, 40)[None]
    ours, theirs = load(ref, "cpu", for_training=True)[0], plain(ref)
    with torch.no_grad():
        ours.eval()(ids)
    gradients = []
    for model in (ours, theirs):
        model.train()(ids, labels=ids).loss.backward()
        gradients.append(model.get_input_embeddings().weight.grad)
    torch.testing.assert_close(*gradients)


@each_way
def test_the_estimated_size_in_memory_is_that_of_the_loaded_weights(ref: ModelRef) -> None:
    model, _ = load(ref, "cpu")
    assert loaded_bytes(ref, "cpu") == pytest.approx(tensor_bytes(model), rel=0.05)
    assert loaded_bytes(STARTER, "cpu") > 2 * loaded_bytes(IN_8_BITS, "cpu") > 2 * loaded_bytes(IN_4_BITS, "cpu")


def test_layers_of_any_shape_compute_in_4_bits(tmp_path: Path) -> None:
    """The CPU's fast kernel supports only outputs that are a multiple of 32 and inputs that are a multiple of 64."""
    shape: dict[str, Any] = {"hidden_size": 48, "intermediate_size": 80, "num_attention_heads": 2, "head_dim": 20}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=3072, num_hidden_layers=1, **shape)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(FOLDER).save_pretrained(tmp_path)
    model: Any = load(ModelRef(Source.LOCAL, str(tmp_path), bitsandbytes=4), "cpu")[0]
    with torch.inference_mode():
        assert model(torch.arange(8)[None]).logits.isfinite().all()


def test_weights_are_freed_with_the_last_engine_that_uses_them(adapter: str) -> None:
    tight = ModelPool(loaded_bytes(STARTER, "cpu") * 2, device="cpu")
    with tight.borrow(replace(IN_4_BITS, adapter=adapter)):
        weight = weakref.ref(tight._bases[IN_4_BITS].model.get_input_embeddings().weight)
    with tight.borrow(STARTER):
        assert weight() is None
        assert tight.statistics().models == 1
    tight.close()


@each_way
def test_a_model_is_described_with_its_load_options(ref: ModelRef) -> None:
    assert describe(ref).quantized
    assert replace(describe(ref), quantized=False) == describe(STARTER)


def test_the_base_of_an_adapter_keeps_its_load_options(adapter: str) -> None:
    assert replace(IN_4_BITS, adapter=adapter).base == IN_4_BITS


def test_without_bitsandbytes_a_clear_error_is_raised_and_other_models_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ModelLoadError, match=r"bitsandbytes is not installed .* leave out `load`"):
        load(IN_4_BITS)
    assert load(STARTER, "cpu")


def test_without_a_kernel_for_the_device_a_clear_error_is_raised() -> None:
    with pytest.raises(ModelLoadError, match=r"can't compute in 4 bits on this worker's meta.* leave out `load`"):
        load(IN_4_BITS, "meta")


def test_bitsandbytes_has_the_internals_that_are_used() -> None:
    """bitsandbytes 0.50. After an upgrade, compare `models/loading/bits_and_bytes.py` with its `nn/modules.py`."""
    nn: Any = import_module("bitsandbytes.nn")
    assert list(inspect.signature(nn.Linear8bitLt.init_8bit_state).parameters) == ["self"]
    eight = nn.Linear8bitLt(64, 64, bias=False, has_fp16_weights=False).to("cpu")
    assert eight.weight.CB is not None
    assert eight.weight.SCB is not None
    eight.init_8bit_state()
    assert eight.weight.CB is None
    assert {eight.state.CB.data_ptr(), eight.state.SCB.data_ptr()} == {each.data_ptr() for each in tensors(eight.state)}
    four = nn.Linear4bit(64, 64, bias=False, quant_type="nf4", compress_statistics=True).to("cpu")
    assert four.support_avx512bf16_for_cpu in (0, 1)
    state = four.weight.quant_state
    assert state.blocksize == 64
    scales = {state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code}
    assert {each.data_ptr() for each in scales} == {each.data_ptr() for each in tensors(state)}
