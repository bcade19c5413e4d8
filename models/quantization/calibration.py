"""The texts that a quantization looks at: rows as training builds them, in tokens."""

from itertools import compress
from pathlib import Path
from random import Random

import numpy as np
import pyarrow.parquet as pq
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.fine_tuning.examples import encode
from models.loading.properties import eos_token_ids
from models.prompts.rows import Row, read_rows
from models.quantization.options import LEAST_TOKENS, QuantizationError, QuantizationOptions


def sample_rows(file: Path, count: int, seed: int) -> list[Row]:
    """At most `count` rows of a Parquet file, in their order; the same for the same file, count and seed."""
    total: int = pq.read_metadata(file).num_rows
    chosen = set(Random(seed).sample(range(total), min(count, total)))
    return list(compress(read_rows(file), (number in chosen for number in range(total))))


def calibration_tokens(
    file: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    options: QuantizationOptions,
    widths: dict[str, int],
) -> list[np.ndarray]:
    """The sampled rows, prompt and completion, each cut off after `max_length` tokens.

    Raises QuantizationError if all together are less than 256 tokens or than the widest layer has inputs (`widths`):
    of a matrix that so few were seen of, nothing but `damp_percent` says how its columns go together.
    """
    eos = eos_token_ids(model, tokenizer)
    if not eos:
        raise QuantizationError("model: it names no token that ends a text, which calibration texts end with")
    rows = sample_rows(file, options.samples, options.seed)
    texts = [encode(row, tokenizer, eos[0]).tokens[: options.max_length] for row in rows]
    tokens = sum(map(len, texts))
    widest = max(widths, key=lambda name: widths[name])
    needed = max(LEAST_TOKENS, widths[widest])
    if tokens < needed:
        raise QuantizationError(
            f"samples: {len(rows)} rows of at most {options.max_length} tokens have {tokens} tokens, and {needed} are "
            f"needed, as {widest} has {widths[widest]} inputs: raise samples or max_length, or take a larger dataset"
        )
    return texts
