"""Calibration texts: dataset rows as token sequences, as they are for fine-tuning."""

from itertools import compress
from pathlib import Path
from random import Random

import numpy as np
import pyarrow.parquet as pq
from transformers import PreTrainedModel

from models.fine_tuning.examples import encode
from models.loading.refs import ModelLoadError
from models.prompts.chat import Prompter
from models.prompts.rows import Row, read_rows
from models.quantization.errors import QuantizationError
from models.quantization.options import QuantizationOptions

MIN_TOKENS = 256


def sample_rows(file: Path, count: int, seed: int) -> list[Row]:
    """Return at most `count` random rows of a Parquet file, in the file's order.

    The same file, count and seed give the same rows.
    """
    total: int = pq.read_metadata(file).num_rows
    chosen = set(Random(seed).sample(range(total), min(count, total)))
    return list(compress(read_rows(file), (number in chosen for number in range(total))))


def calibration_tokens(
    file: Path,
    prompter: Prompter,
    options: QuantizationOptions,
    widths: dict[str, int],
) -> list[np.ndarray]:
    """Return the tokens of the sampled rows: prompt text and output, cut off after `max_length` tokens.

    `widths` maps the name of each layer to its number of inputs. Raises QuantizationError if there are fewer than 256
    tokens, or fewer than the widest layer has inputs: the Hessian of that layer would be singular, so `damp_percent`
    alone would determine its weights.
    """
    rows = sample_rows(file, options.samples, options.seed)
    texts = [example.tokens[: options.max_length] for row in rows for example in encode(row, prompter)]
    tokens = sum(map(len, texts))
    widest = max(widths, key=lambda name: widths[name])
    required = max(MIN_TOKENS, widths[widest])
    if tokens < required:
        raise QuantizationError(
            f"samples: {len(rows)} rows of at most {options.max_length} tokens have {tokens} tokens, but {required} "
            f"are required, since {widest} has {widths[widest]} inputs: raise samples or max_length, or use a larger "
            "dataset"
        )
    return texts


def check_vocabulary(texts: list[np.ndarray], model: PreTrainedModel) -> None:
    """Raise ModelLoadError if a text has a token that the model has no embedding for."""
    largest, embeddings = max(int(text.max()) for text in texts), model.get_input_embeddings()
    rows = getattr(embeddings, "num_embeddings", None)
    if rows is not None and largest >= rows:
        raise ModelLoadError(
            f"the tokenizer does not fit the model: it has the token {largest}, and the model has {rows} embeddings"
        )
