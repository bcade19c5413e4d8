"""Running the blocks of a model one after the other, with what each of them gets in a pass of the whole model."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.loading.refs import ModelLoadError
from models.quantization.blocks import record, unused
from models.quantization.errors import QuantizationError
from tests.models import architectures

TEXTS = [np.arange(4, 4 + length) % architectures.VOCABULARY for length in (30, 7, 41)]


def blocks_of(model: Any) -> Any:
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=lambda blocks: sum(parameter.numel() for parameter in blocks.parameters()))


def hidden_states_of(model: Any, blocks: Any, text: np.ndarray) -> list[torch.Tensor]:
    """Return the hidden states that each block gets in a pass of the whole model."""
    seen: list[torch.Tensor] = []

    def before(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append((named["hidden_states"] if "hidden_states" in named else given[0]).clone())

    handles = [block.register_forward_pre_hook(before, with_kwargs=True) for block in blocks]
    ids = torch.from_numpy(text)[None]
    model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "gemma2", "falcon", "opt", "gpt2", "mistral"])
def test_each_block_gets_the_inputs_of_a_pass_of_the_whole_model(name: str) -> None:
    """Gemma's blocks have masks and rotary angles of two kinds."""
    model, _ = architectures.make(name)
    blocks = blocks_of(model)
    with torch.no_grad():
        by_text = record(model, blocks, TEXTS)
        for text, calls in zip(TEXTS, by_text, strict=True):
            seen = hidden_states_of(model, blocks, text)
            hidden = calls[0].hidden
            for block, call, wanted in zip(blocks, calls, seen, strict=True):
                torch.testing.assert_close(hidden, wanted)
                hidden = call.run(block, hidden)


def test_the_blocks_of_gemma_3_get_different_rotary_angles() -> None:
    """Otherwise the test above would prove nothing."""
    model, _ = architectures.make("gemma3_text")
    with torch.no_grad():
        [calls] = record(model, blocks_of(model), TEXTS[:1])
    angles = [call.named.get("position_embeddings", call.rest and call.rest[0])[0] for call in calls]
    assert not all(torch.equal(angles[0], other) for other in angles[1:])


class Chain(nn.Module):
    """A model of two blocks, joined by `between`."""

    def __init__(self, between: Any = lambda hidden: hidden, order: tuple[int, ...] = (0, 1)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(256, 8)
        self.layers = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.between = between
        self.order = order

    def forward(self, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        hidden = self.embedding(input_ids)
        for number in self.order:
            hidden = self.between(self.layers[number](hidden))
        return hidden


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Chain(lambda hidden: 2 * hidden), "what block 0 computes is not what the next block gets"),
        (Chain(order=(0, 1, 0)), "do not run once each"),
        (Chain(order=(1, 0)), "do not run once each"),
    ],
)
def test_a_model_whose_blocks_are_no_chain_is_refused(model: Any, message: str) -> None:
    with pytest.raises(QuantizationError, match=message), torch.no_grad():
        record(model, model.layers, TEXTS)


def test_a_model_that_cannot_run_is_a_load_error() -> None:
    model: Any = Chain(lambda hidden: hidden[:, :, :3])
    with pytest.raises(ModelLoadError, match="running Chain on a calibration text fails: RuntimeError"):
        record(model, model.layers, TEXTS)


def test_a_model_keeps_its_own_functions() -> None:
    model = Chain()
    tokens = torch.from_numpy(TEXTS[0])[None]
    with torch.no_grad():
        before = model(tokens)
        record(model, model.layers, TEXTS)  # type: ignore[arg-type]  # it is no PreTrainedModel
        torch.testing.assert_close(model(tokens), before)
    assert not any("forward" in vars(block) for block in model.layers)


def test_layers_that_a_pass_does_not_call_are_found() -> None:
    """The decoder of BART has layers for the outputs of an encoder."""
    model, _ = architectures.make("bart")
    modules = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    names = {name.rpartition(".")[0].rpartition(".")[2] for name in unused(model, modules, TEXTS[0])}
    assert names == {"encoder_attn"}
