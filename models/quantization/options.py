"""What a quantization can be asked for, in the names of transformers' GPTQConfig. Imports no torch."""

from dataclasses import dataclass

BITS = (2, 3, 4, 8)
GROUP_SIZES = (-1, 16, 32, 64, 128, 256, 512, 1024)
"""Those that gptqmodel's kernels know."""
LEAST_TOKENS = 256


class QuantizationError(ValueError):
    """What was asked for can't be quantized, however often it is tried. The message says what to change."""


class Stopped(Exception):
    """The task was told to stop."""


@dataclass(frozen=True)
class QuantizationOptions:
    """One scale for each `group_size` weights of a row, each weight in `bits` bits; -1 is one scale for each row.

    `desc_act` quantizes the columns of large activations first, `sym` leaves out the zero point. `damp_percent`,
    between 0 and 1, is the share of the Hessian's mean diagonal that is added to its diagonal; 0.1 is transformers'
    default. Calibration is on `samples` rows, drawn by `seed`, of at most `max_length` tokens each.
    """

    bits: int = 4
    group_size: int = 128
    desc_act: bool = False
    sym: bool = True
    damp_percent: float = 0.1
    samples: int = 128
    max_length: int = 512
    seed: int = 42


def check(options: QuantizationOptions) -> None:
    """Raises QuantizationError for values that no model can be quantized with."""
    if options.bits not in BITS:
        raise QuantizationError(f"bits: {options.bits} is none of {_listed(BITS)}")
    if options.group_size not in GROUP_SIZES:
        raise QuantizationError(f"group_size: {options.group_size} is none of {_listed(GROUP_SIZES)}")
    if not 0 < options.damp_percent < 1:
        raise QuantizationError(f"damp_percent: {options.damp_percent} is not between 0 and 1")
    for name in ("samples", "max_length"):
        if getattr(options, name) < 1:
            raise QuantizationError(f"{name}: {getattr(options, name)} is less than 1")


def check_group_size(group_size: int, widths: dict[str, int]) -> None:
    """Raises QuantizationError if a layer's inputs can't be cut into groups. `widths` has the inputs of each layer."""
    if group_size == -1:
        return
    for name, width in widths.items():
        if width % group_size:
            fitting = [size for size in GROUP_SIZES if all(width % size == 0 for width in widths.values())]
            raise QuantizationError(
                f"group_size: {group_size} does not divide the {width} inputs of {name}; "
                f"for this model it can be {_listed(fitting)}"
            )


def _listed(numbers: tuple[int, ...] | list[int]) -> str:
    return ", ".join(map(str, numbers))
