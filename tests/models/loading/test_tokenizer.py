"""Tokenizers in the forms in which repositories store them."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

import models.starter
from models.loading.refs import ModelLoadError, ModelRef, Source
from models.loading.tokenizer import read_tokenizer

TEXT = "<p>Create a page</p>"


def read(folder: Path) -> Any:
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return read_tokenizer(ModelRef(Source.LOCAL, str(folder)), folder)


def test_a_sentencepiece_vocabulary_alone_gives_the_tokens_of_sentencepiece(tmp_path: Path) -> None:
    texts = [json.loads(line)["output"] for line in models.starter.HELD_OUT.read_text().splitlines()[::5]]
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=trained, vocab_size=400, model_type="bpe", byte_fallback=True,
        minloglevel=2,
    )  # fmt: skip
    (tmp_path / "tokenizer.model").write_bytes(trained.getvalue())
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    tokens = read(tmp_path)(TEXT, add_special_tokens=False)["input_ids"]
    assert tokens == sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue()).encode(TEXT)


def test_a_tiktoken_vocabulary_alone_is_read(tmp_path: Path) -> None:
    ranks = [*(bytes([byte]) for byte in range(256)), b"pa", b"ge", b"page"]
    lines = [f"{base64.b64encode(token).decode()} {rank}" for rank, token in enumerate(ranks)]
    (tmp_path / "tokenizer.model").write_text("\n".join(lines) + "\n")
    tokenizer = read(tmp_path)
    tokens = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert 258 in tokens
    assert tokenizer.decode(tokens) == TEXT


@pytest.mark.parametrize("kind", ["LlamaTokenizer", "GPT2Tokenizer", "GemmaTokenizer", "T5Tokenizer", None])
def test_a_folder_without_a_vocabulary_is_refused(tmp_path: Path, kind: str | None) -> None:
    if kind:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
    with pytest.raises(ModelLoadError, match=f"{tmp_path.name}: .*(no vocabulary|tokenizer can't be loaded)") as caught:
        read(tmp_path)
    assert str(tmp_path) not in str(caught.value)
