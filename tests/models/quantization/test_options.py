from typing import Any

import pytest
from pydantic import ValidationError

from models.quantization.errors import QuantizationError
from models.quantization.layers import check_group_size
from models.quantization.options import QuantizationOptions


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group_size", [-1, 16, 128, 1024])
def test_the_sizes_that_gptqmodel_has_kernels_for_are_accepted(bits: Any, group_size: Any) -> None:
    QuantizationOptions(bits=bits, group_size=group_size)


@pytest.mark.parametrize(
    "options",
    [
        {"bits": 5},
        {"bits": "4"},
        {"group_size": 100},
        {"group_size": 0},
        {"damp_percent": 1.0},
        {"damp_percent": float("nan")},
        {"samples": 0},
        {"max_length": 0},
        {"backend": "marlin"},
    ],
    ids=str,
)
def test_an_invalid_option_is_refused_with_its_name(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refusal:
        QuantizationOptions(**options)
    assert [error["loc"] for error in refusal.value.errors()] == [tuple(options)]


def test_a_group_size_must_divide_the_width_of_every_layer() -> None:
    widths = {"layers.0.up": 256, "layers.0.down": 768}
    check_group_size(256, widths)
    check_group_size(-1, widths)
    with pytest.raises(QuantizationError, match=r"512 does not divide the 256 inputs of layers\.0\.up.*-1, 16, .*256$"):
        check_group_size(512, widths)
