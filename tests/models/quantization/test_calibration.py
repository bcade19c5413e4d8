"""Calibration texts: which rows are sampled, and how many tokens are required."""

from collections.abc import Callable
from pathlib import Path

import pytest

from models.loading.loader import load
from models.loading.refs import ModelRef
from models.prompts.chat import Prompter
from models.prompts.rows import Row
from models.prompts.templates import build_prompt
from models.quantization.calibration import calibration_tokens, sample_rows
from models.quantization.errors import QuantizationError
from models.quantization.options import QuantizationOptions

WriteRows = Callable[[Path, list[Row]], Path]
WIDTHS = {"up": 256, "down": 768}


def test_a_sample_is_the_same_each_time_and_in_the_order_of_the_file(
    rows: list[Row], write_rows: WriteRows, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "rows.parquet", rows)
    sample = sample_rows(file, 10, seed=1)
    assert sample == sample_rows(file, 10, seed=1)
    assert sample != sample_rows(file, 10, seed=2)
    assert len(sample) == 10
    assert sample == [row for row in rows if row in sample]
    assert sample_rows(file, 1000, seed=1) == rows


def test_texts_are_prompt_text_and_output_cut_off_at_max_length(
    small: ModelRef, rows: list[Row], write_rows: WriteRows, tmp_path: Path
) -> None:
    tokenizer = load(small, "cpu")[1]
    prompter = Prompter(tokenizer)
    file = write_rows(tmp_path / "rows.parquet", rows)
    texts = calibration_tokens(file, prompter, QuantizationOptions(max_length=2048), WIDTHS)
    wanted = [build_prompt(row.instruction, row.input) + row.output for row in rows]
    assert [tokenizer.decode(text, skip_special_tokens=True) for text in texts] == wanted
    assert all(text[-1] == prompter.turn_end for text in texts)
    cut = calibration_tokens(file, prompter, QuantizationOptions(max_length=50), WIDTHS)
    assert [text.tolist() for text in cut] == [text[:50].tolist() for text in texts]


def test_too_few_tokens_are_refused_with_their_number(
    small: ModelRef, rows: list[Row], write_rows: WriteRows, tmp_path: Path
) -> None:
    prompter = Prompter(load(small, "cpu")[1])
    file = write_rows(tmp_path / "rows.parquet", rows)
    with pytest.raises(QuantizationError, match=r"samples: 2 rows of at most 100 .* 200 tokens, but 768 .*down"):
        calibration_tokens(file, prompter, QuantizationOptions(samples=2, max_length=100), WIDTHS)
    with pytest.raises(QuantizationError, match="256 are required"):
        calibration_tokens(file, prompter, QuantizationOptions(samples=2, max_length=100), {"narrow": 8})
