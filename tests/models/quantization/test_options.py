import pytest

from models.quantization.options import QuantizationError, QuantizationOptions, check, check_group_size


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group_size", [-1, 16, 128, 1024])
def test_what_gptqmodel_can_do_is_taken(bits: int, group_size: int) -> None:
    check(QuantizationOptions(bits=bits, group_size=group_size))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 5}, "bits: 5 is none of 2, 3, 4, 8"),
        ({"group_size": 100}, "group_size: 100 is none of -1, 16"),
        ({"group_size": 0}, "group_size: 0"),
        ({"damp_percent": 1.0}, "damp_percent: 1.0 is not between 0 and 1"),
        ({"damp_percent": float("nan")}, "damp_percent"),
        ({"samples": 0}, "samples: 0"),
        ({"max_length": 0}, "max_length: 0"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(options: dict[str, int], message: str) -> None:
    with pytest.raises(QuantizationError, match=message):
        check(QuantizationOptions(**options))  # type: ignore[arg-type]  # damp_percent alone is a float


def test_a_group_size_has_to_divide_every_width() -> None:
    widths = {"layers.0.up": 256, "layers.0.down": 768}
    check_group_size(256, widths)
    check_group_size(-1, widths)
    with pytest.raises(QuantizationError, match=r"512 does not divide the 256 inputs of layers\.0\.up.*-1, 16, .*256$"):
        check_group_size(512, widths)
