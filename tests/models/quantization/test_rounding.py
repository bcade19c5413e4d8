import pytest
import torch
from gptqmodel.quantization import QuantizeConfig
from gptqmodel.quantization.quantizer import Quantizer
from torch import nn
from transformers.pytorch_utils import Conv1D

from models.quantization.options import QuantizationOptions
from models.quantization.rounding import round_to_nearest, rounded


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("sym", [True, False])
def test_the_levels_are_those_that_gptq_rounds_to(bits: int, sym: bool) -> None:
    torch.manual_seed(0)
    weight = torch.randn(8, 64)
    quantizer = Quantizer(QuantizeConfig(bits=bits, group_size=32, sym=sym))
    quantizer.configure(perchannel=True)
    groups = []
    for group in weight.split(32, dim=1):
        quantizer.find_params(group, weight=True)
        groups.append(quantizer.quantize(group))
    torch.testing.assert_close(rounded(weight, bits, 32, sym), torch.cat(groups, dim=1))


def test_a_group_has_at_most_as_many_levels_as_its_bits_can_represent() -> None:
    weight = torch.randn(4, 128)
    for group in rounded(weight, 2, 64, sym=False).reshape(-1, 64):
        assert len(group.unique()) <= 4


def test_a_group_size_of_minus_1_is_a_group_as_wide_as_the_row() -> None:
    weight = torch.randn(4, 96)
    assert torch.equal(rounded(weight, 4, -1, sym=True), rounded(weight, 4, 96, sym=True))


def test_rounding_again_changes_nothing() -> None:
    once = rounded(torch.randn(4, 64), 4, 32, sym=False)
    torch.testing.assert_close(rounded(once, 4, 32, sym=False), once)


def test_a_group_of_zeros_stays_zero() -> None:
    for sym in (True, False):
        assert not rounded(torch.zeros(2, 32), 4, 32, sym).any()


def test_groups_run_along_the_inputs_in_both_layouts_of_weights() -> None:
    weight = torch.randn(6, 64)
    linear, conv = nn.Linear(64, 6), Conv1D(6, 64)
    linear.weight.data, conv.weight.data = weight.clone(), weight.T.clone()
    round_to_nearest({"linear": linear, "conv": conv}, QuantizationOptions(group_size=32))
    assert torch.equal(linear.weight, rounded(weight, 4, 32, sym=True))
    assert torch.equal(conv.weight, linear.weight.T)
