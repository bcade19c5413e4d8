"""No example of a batch affects the results of another one."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from models.fine_tuning import attention
from models.fine_tuning.adapter import add_adapter
from models.fine_tuning.batching import Collator, Way, model_inputs, on_device, token_losses
from models.fine_tuning.examples import Example, encode
from models.fine_tuning.options import LoraOptions
from models.loading.loader import load
from models.prompts.chat import Prompter
from models.prompts.rows import Row
from tests.models.fine_tuning.conftest import STARTER

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LENGTHS = [7, 1, 30, 12]
BOUNDS = torch.tensor([0, 7, 8, 38, 50], dtype=torch.int32, device=DEVICE)


def random_states(heads: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(1, heads, sum(LENGTHS), 64, device=DEVICE, dtype=dtype)


@pytest.mark.parametrize("window", [None, 5], ids=["all", "window"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("key_heads", [4, 2])
def test_each_example_attends_only_to_itself(key_heads: int, dtype: torch.dtype, window: int | None) -> None:
    torch.manual_seed(0)
    query, key, value = random_states(4, dtype), random_states(key_heads, dtype), random_states(key_heads, dtype)
    output, _ = attention.packed_attention(
        SimpleNamespace(), query, key, value, None, cu_seq_lens_q=BOUNDS, max_length_q=30, sliding_window=window
    )
    for begin, end in zip(BOUNDS[:-1].tolist(), BOUNDS[1:].tolist(), strict=True):
        own = (query[:, :, begin:end].float(), key[:, :, begin:end].float(), value[:, :, begin:end].float())
        seen = torch.ones(end - begin, end - begin, dtype=torch.bool, device=DEVICE).tril()
        if window:
            seen = seen.triu(1 - window)
        alone = scaled_dot_product_attention(*own, attn_mask=seen, enable_gqa=True)
        tolerance = 1e-5 if dtype == torch.float32 else 2e-2  # bfloat16 keeps 8 bits
        torch.testing.assert_close(output[:, begin:end].transpose(1, 2).float(), alone, atol=tolerance, rtol=tolerance)


def test_capped_attention_logits_are_refused() -> None:
    states = random_states(4, torch.float32)
    with pytest.raises(NotImplementedError, match="capped"):
        attention.packed_attention(
            SimpleNamespace(), states, states, states, None, cu_seq_lens_q=BOUNDS, max_length_q=30, softcap=50.0
        )


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    adapted = add_adapter(load(STARTER, DEVICE, torch.float32)[0], LoraOptions(dropout=0))
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:  # zero at first, and then nothing else has a gradient
            torch.nn.init.normal_(weights, std=0.02)
    return adapted


@pytest.fixture
def examples(rows: list[Row]) -> list[Example]:
    prompter = Prompter(load(STARTER, "cpu")[1])
    return [example for row in rows[:4] for example in encode(row, prompter)]


def packed(model: Any, rows: list[list[Example]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of a packed batch, and what they should predict."""
    batch = on_device(Collator.for_model(model.base_model.model, Way.PACKED)(rows), DEVICE)
    return model(**model_inputs(batch)).logits, batch["labels"]


def gradients(model: Any) -> dict[str, torch.Tensor]:
    result = {name: weights.grad.clone() for name, weights in model.named_parameters() if weights.grad is not None}
    model.zero_grad()
    assert result
    return result


def test_packed_and_unpacked_losses_and_gradients_agree(model: Any, examples: list[Example]) -> None:
    """Compared with transformers' own attention, mask and loss, one example at a time."""
    total = torch.zeros((), device=DEVICE)
    tokens = 0
    for example in examples:
        ids = torch.tensor(example.tokens.astype(int), device=DEVICE)
        logits = model(input_ids=ids[None]).logits[0]
        learn = torch.tensor(example.learn, device=DEVICE)
        counted = ids[learn]
        total = total + cross_entropy(logits[:-1][learn[1:]], counted, reduction="sum")
        tokens += len(counted)
    unpacked = total / tokens
    unpacked.backward()
    expected = gradients(model)

    model.base_model.model.set_attn_implementation(attention.NAME)
    for rows in ([examples], [[example] for example in examples]):
        loss = token_losses(*packed(model, rows)).mean()
        loss.backward()
        torch.testing.assert_close(loss, unpacked, atol=1e-5, rtol=1e-5)
        for name, gradient in gradients(model).items():
            torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-3, msg=name)


def test_the_tokens_of_a_neighbour_change_no_logits(model: Any, examples: list[Example]) -> None:
    model.base_model.model.set_attn_implementation(attention.NAME)
    first, second, other = examples[0], examples[1], Example(examples[1].tokens[::-1].copy(), examples[1].learn)
    with torch.no_grad():
        logits = [packed(model, [[first, neighbour, first]])[0][0] for neighbour in (second, other)]
    counted = int(first.learn.sum())
    for one, another in zip(*[(own[:counted], own[-counted:]) for own in logits], strict=True):
        torch.testing.assert_close(one, another, atol=0, rtol=0)
