"""Which weights of a model get an adapter."""

from typing import Any

import pytest
from peft import PeftModel

from models.fine_tuning.adapter import adapter_events, add_adapter
from models.fine_tuning.errors import FineTuneError
from models.fine_tuning.options import ALL_LINEAR, LoraOptions
from tests.models import architectures


def adapt(name: str, targets: list[str] | None = None, dropout: float = 0.05) -> tuple[PeftModel, dict[str, str]]:
    """Return the adapted model, and what is reported about it."""
    lora = LoraOptions(target_modules=targets, dropout=dropout)
    adapted = add_adapter(architectures.make(name)[0], lora)
    return adapted, {event.event: event.message for event in adapter_events(adapted, lora)}


def targets(adapted: PeftModel) -> tuple[set[str], set[str]]:
    config: Any = adapted.peft_config["default"]
    return set(config.target_modules), set(config.target_parameters or ())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llama", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("mixtral", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("opt", {"q_proj", "v_proj"}),
        ("gpt2", {"c_attn"}),
        ("falcon", {"query_key_value"}),
        ("phi3", {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}),
    ],
)
def test_the_default_is_the_original_experiments_then_pefts_then_all_linear_layers(
    name: str, expected: set[str]
) -> None:
    adapted, events = adapt(name)
    assert targets(adapted) == (expected, set())
    assert events == {}


def test_a_name_may_be_the_end_of_a_path() -> None:
    adapted, _ = adapt("llama", ["self_attn.q_proj", "layers.1.mlp.up_proj"])
    trained = {name.split(".lora_")[0] for name, weight in adapted.named_parameters() if weight.requires_grad}
    layers = "base_model.model.model.layers"
    assert trained == {f"{layers}.{layer}" for layer in ("0.self_attn.q_proj", "1.self_attn.q_proj", "1.mlp.up_proj")}


def test_all_linear_means_every_linear_layer_but_the_head() -> None:
    adapted, events = adapt("gpt2", [ALL_LINEAR])
    assert targets(adapted) == ({"c_attn", "c_proj", "c_fc"}, set())
    assert events == {}


def test_the_experts_of_a_mixture_are_adapted_without_dropout() -> None:
    adapted, events = adapt("mixtral", [ALL_LINEAR])
    assert targets(adapted)[1] == {"experts.gate_up_proj", "experts.down_proj"}
    assert events["dropout"].startswith("dropout is 0 instead of 0.05")
    assert events["weights-left-out"] == "0.3% of the weights in the model's blocks have no adapter: mlp.gate"


def test_experts_can_be_named() -> None:
    adapted, events = adapt("mixtral", ["q_proj", "experts.down_proj"], dropout=0)
    assert targets(adapted) == ({"q_proj"}, {"experts.down_proj"})
    assert events == {}


def test_weights_that_no_adapter_can_change_are_named_with_their_share() -> None:
    _, events = adapt("dbrx", [ALL_LINEAR])
    assert events["weights-left-out"].startswith("85.5% of the weights")
    assert events["weights-left-out"].endswith(": mlp.v1, mlp.w1, mlp.w2")


def test_an_unknown_name_is_refused_with_the_names_there_are_and_the_head() -> None:
    with pytest.raises(FineTuneError) as refused:
        adapt("gpt2", ["q_proj", "lm_head"])
    assert str(refused.value) == (
        "target_modules: gpt2 has no q_proj, lm_head; it has c_attn, c_fc, c_proj; lm_head is left out, since its "
        "weights may be those of the embedding"
    )


def test_layers_whose_names_peft_takes_for_experts_are_refused_when_named() -> None:
    """PEFT reads these names as they were before transformers 5, where each expert had its own layers."""
    with pytest.raises(FineTuneError, match=r"in place of down_proj, gate_proj, up_proj: .*experts\.gate_up_proj"):
        adapt("qwen3_next", ["gate_proj", "up_proj", "down_proj"], dropout=0)


def test_the_last_layer_of_a_mamba_mixer_has_no_adapter() -> None:
    adapted, events = adapt("mamba", [ALL_LINEAR])
    assert "out_proj" not in targets(adapted)[0]
    assert "mixer.out_proj" in events["weights-left-out"]
