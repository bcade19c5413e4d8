"""Loads a model's tokenizer: `tokenizer.json`, or a vocabulary of sentencepiece or tiktoken, which is converted."""

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from models.loading.model_files import load_error
from models.loading.refs import ModelLoadError, ModelRef

MIN_TOKENS = 2
"""The fewest tokens, without special ones, that can stand for a text."""


def read_tokenizer(ref: ModelRef, folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer in the folder of a model. Raises ModelLoadError, also if it has no vocabulary."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever a broken file leads to
        raise load_error(ref, folder, "the tokenizer can't be loaded", error) from error
    # Without a vocabulary, some of transformers' classes make a tokenizer of a few special tokens.
    special = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    if len(set(tokenizer.get_vocab()) - special) < MIN_TOKENS:
        raise ModelLoadError(
            f"{ref.label}: the folder has no vocabulary: add the tokenizer's files, tokenizer.json or tokenizer.model"
        )
    return tokenizer
