"""How the check before the first step decides which rows may share a batch."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM

from models.fine_tuning import attention
from models.fine_tuning.batching import Collator, Way, model_inputs, token_losses
from models.fine_tuning.check import choose_way
from models.fine_tuning.errors import FineTuneError
from models.fine_tuning.examples import Example
from models.loading.refs import ModelLoadError

SMALL = {
    "vocab_size": 200, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.3,
}  # fmt: skip
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10_000.0, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 40,
}  # fmt: skip


def make(model_type: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **SMALL | changes)).eval()


def examples(*lengths: int) -> list[Example]:
    random = np.random.default_rng(0)
    return [Example(random.integers(3, 200, length).astype(np.int32), np.arange(length) > 0) for length in lengths]


def mean_loss(model: Any, way: Way, rows: list[Example]) -> float:
    batch = Collator.for_model(model, way)([rows])
    with torch.no_grad():
        return float(token_losses(model(**model_inputs(batch)).logits, batch["labels"]).mean())


def mean_loss_alone(model: Any, rows: list[Example]) -> float:
    """By transformers' own model and PyTorch alone, one row after the other."""
    losses = []
    with torch.no_grad():
        for row in rows:
            ids = torch.from_numpy(row.tokens.astype(np.int64))
            losses.append(cross_entropy(model(ids[None]).logits[0, :-1], ids[1:], reduction="none"))
    return float(torch.cat(losses).mean())


@pytest.mark.parametrize(
    ("model_type", "changes", "way"),
    [
        ("llama", {}, Way.PACKED),
        ("mistral", {"sliding_window": 8}, Way.PACKED),
        ("falcon", {}, Way.PADDED),
        ("bloom", {}, Way.PADDED),
        ("gemma2", {"head_dim": 8, "attn_logit_softcapping": 0.5}, Way.PADDED),
        ("llama4_text", {"head_dim": 8, "attention_chunk_size": 8, "pad_token_id": 0}, Way.PADDED),
        ("mixtral", {"num_local_experts": 4, "output_router_logits": True}, Way.SINGLE),
    ],
    ids=str,
)
def test_the_loss_of_a_batch_is_that_of_its_rows_alone(model_type: str, changes: dict[str, Any], way: Way) -> None:
    rows = examples(60, 23, 40)
    expected = mean_loss_alone(make(model_type, **changes), rows)
    model = make(model_type, **changes)
    choice = choose_way(model, rows)
    assert choice.way == way, choice.reason
    assert (choice.reason is None) == (way == Way.PACKED)
    if way != Way.SINGLE:
        assert mean_loss(model, way, rows) == pytest.approx(expected, abs=1e-5)


def test_packed_rows_of_falcon_would_attend_to_each_other() -> None:
    """So that the test above would fail if its way were not chosen by what the model does."""
    model, rows = make("falcon"), examples(60, 23, 40)
    expected = mean_loss_alone(model, rows)
    model.set_attn_implementation(attention.NAME)
    assert abs(mean_loss(model, Way.PACKED, rows) - expected) > 1e-3


def test_a_window_beyond_the_usual_length_of_the_check_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attention that forgets the window differs only in rows that are longer than it."""
    changes = {"sliding_window": 300, "max_position_embeddings": 1024}
    assert choose_way(make("mistral", **changes), examples(600, 23)).way == Way.PACKED
    packed = attention.packed_attention
    monkeypatch.setattr(
        attention, "packed_attention", lambda *states, **more: packed(*states, **more | {"sliding_window": None})
    )
    AttentionInterface.register(attention.NAME, attention.packed_attention)
    try:
        assert choose_way(make("mistral", **changes), examples(600, 23)).way == Way.PADDED
        assert choose_way(make("mistral", **changes), examples(200, 23)).way == Way.PACKED, "no row reaches the window"
    finally:
        AttentionInterface.register(attention.NAME, packed)


def test_rows_beyond_a_longrope_border_are_taken_one_at_a_time() -> None:
    """Beyond the border, a row changes the angles of the other rows of its batch."""
    model, rows = (
        make("phi3", rope_parameters=LONGROPE, original_max_position_embeddings=40, pad_token_id=0),
        examples(60, 23),
    )
    expected = mean_loss_alone(model, rows)
    choice = choose_way(model, rows)
    assert choice.way == Way.SINGLE
    assert "longrope" in str(choice.reason)
    assert abs(mean_loss(model, Way.PADDED, rows) - expected) > 1e-3, "another way would be wrong"
    assert choose_way(model, examples(40, 23)).way == Way.PACKED, "no row is beyond the border"


def test_a_model_whose_tokens_see_those_after_them_is_refused() -> None:
    with pytest.raises(FineTuneError, match=r"the tokens of bert see the tokens after them"):
        choose_way(make("bert", is_decoder=False), examples(20, 10))


def test_a_model_that_can_not_be_run_is_named_with_the_reason() -> None:
    model = make("llama")
    del model.model.layers[0].self_attn.q_proj
    with pytest.raises(ModelLoadError, match=r"a forward pass of llama fails: AttributeError: .*q_proj"):
        choose_way(model, examples(20, 10))


def test_the_check_restores_the_attention_of_a_model_that_can_not_be_packed() -> None:
    model = make("gemma2", head_dim=8)
    own = model.config._attn_implementation
    choose_way(model, examples(20, 10))
    assert model.config._attn_implementation == own
