"""The committed weights and tokenizer of the starter model."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from models.scoring.html import parse_errors
from models.starter import FOLDER
from starter_model import evaluate, train
from starter_model.rows import held_out

TOKENIZER = AutoTokenizer.from_pretrained(FOLDER)


def test_the_model_has_at_most_8_million_parameters_in_16_mib() -> None:
    model = AutoModelForCausalLM.from_pretrained(FOLDER)
    assert (FOLDER / "model.safetensors").stat().st_size <= 16 * 2**20
    assert sum(parameter.numel() for parameter in model.parameters()) <= 8_000_000
    assert model.dtype == torch.bfloat16
    assert not model.generation_config.do_sample
    assert model.generation_config.eos_token_id == TOKENIZER.eos_token_id
    assert model.generation_config.pad_token_id == TOKENIZER.pad_token_id


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_decoding_returns_any_encoded_text(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


@pytest.mark.parametrize("text", ["", " a  b\t\n\n  c \r\n", "<s>x</s>", "it 's , ok . !", "日本 😀 é"])
def test_decoding_keeps_whitespace_and_tags(text: str) -> None:
    assert TOKENIZER.is_fast
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


def test_the_training_forward_pass_gives_the_models_logits() -> None:
    model = LlamaForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    tokens = torch.tensor([TOKENIZER("Create a page with a heading")["input_ids"]])
    with torch.inference_mode():
        torch.testing.assert_close(train.forward(model, tokens), model(tokens).logits, rtol=1e-3, atol=1e-3)


def test_batches_have_every_example_and_label_only_its_page() -> None:
    shard = train.encoded(Tokenizer.from_file(str(FOLDER / "tokenizer.json")), 1, 64)
    batches = list(train.batches(shard, TOKENIZER.pad_token_id, 1, 4096, "cpu"))
    assert sum(int((tokens != TOKENIZER.pad_token_id).sum()) for tokens, _ in batches) == len(shard.tokens)
    assert sum(int((labels >= 0).sum()) for _, labels in batches) == int((shard.lengths - shard.prompts).sum())


def test_most_held_out_pages_are_reproduced_exactly() -> None:
    rows = held_out()[::8]
    pages = evaluate.answers(FOLDER, rows, device="cpu")
    correct = sum(evaluate.exact(page, row.output) for page, row in zip(pages, rows, strict=True))
    assert correct / len(rows) >= 0.7
    assert [parse_errors(page) for page in pages if parse_errors(page)] == []
