"""The arguments of a quantization. Imports no torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from models.loading.refs import ModelRef
from models.prompts.templates import PromptOptions
from models.quantization.options import QuantizationOptions
from models.tasks.specification import Task


@dataclass(frozen=True, kw_only=True)
class QuantizeTask(Task):
    """Quantizes `model`, calibrated on rows of the Parquet file `calibration`.

    If the Parquet file `evaluation` is given, the variants of the model are then measured on at most `evaluation_rows`
    of its rows, drawn with the options' seed. The calibration must not contain these rows.
    """

    function: ClassVar[str] = "models.quantization.gptq:quantize"
    model: ModelRef
    calibration: Path
    options: QuantizationOptions = field(default_factory=QuantizationOptions)
    evaluation: Path | None = None
    evaluation_rows: int = 200
    prompt: PromptOptions = field(default_factory=PromptOptions)
