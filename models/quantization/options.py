"""The options of a quantization, in the names of transformers' GPTQConfig. Imports no torch."""

from typing import Literal, get_args

from pydantic import Field

from models.options import Options

Bits = Literal[2, 3, 4, 8]
GroupSize = Literal[-1, 16, 32, 64, 128, 256, 512, 1024]
GROUP_SIZES: tuple[int, ...] = get_args(GroupSize)
"""The group sizes that gptqmodel has kernels for. -1 is one group per row."""


class QuantizationOptions(Options):
    """Options of transformers' GPTQConfig, and of the calibration."""

    bits: Bits = Field(4, description="Bits per weight.")
    group_size: GroupSize = Field(
        128,
        description="Number of weights of a row that share a scale. It must divide the number of inputs of each layer. "
        "-1: one scale per row.",
    )
    desc_act: bool = Field(
        False,
        description="Quantize the columns with the largest activations first. Smaller errors, slower inference.",
    )
    sym: bool = Field(True, description="Levels are symmetric about 0: no zero points are stored.")
    damp_percent: float = Field(
        0.1, gt=0, lt=1, description="Share of the mean of the Hessian's diagonal that is added to the diagonal."
    )
    samples: int = Field(128, ge=1, le=100_000, description="Number of calibration rows, drawn with `seed`.")
    max_length: int = Field(512, ge=1, le=131_072, description="Number of tokens of each calibration row that count.")
    seed: int = Field(42, ge=0, le=2**32 - 1)
