from types import SimpleNamespace
from typing import Any

import pytest
from transformers import GenerationConfig, LlamaConfig

from models.loading.properties import eos_token_ids


@pytest.mark.parametrize(
    ("generation", "config", "tokenizer", "ends"),
    [
        (7, 7, 7, [7]),
        ([7, 8], 7, 9, [7, 8, 9]),
        (None, [5, 6], None, [5, 6]),
        (None, None, 9, [9]),
        (None, None, None, []),
        (-1, None, None, []),
    ],
)
def test_a_completion_ends_at_every_token_that_the_model_or_its_tokenizer_names(
    generation: Any, config: Any, tokenizer: Any, ends: list[int]
) -> None:
    model: Any = SimpleNamespace(
        generation_config=GenerationConfig(eos_token_id=generation), config=LlamaConfig(eos_token_id=config)
    )
    named: Any = SimpleNamespace(eos_token_id=tokenizer)
    assert eos_token_ids(model, named) == ends
