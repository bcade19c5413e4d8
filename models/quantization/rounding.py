"""Rounding weights to the nearest level: what GPTQ has to beat."""

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from models.quantization.options import QuantizationOptions


def rounded(weight: torch.Tensor, bits: int, group_size: int, sym: bool) -> torch.Tensor:
    """The nearest weights that can be stored in `bits` bits: [out, in], in the dtype that came in.

    Each `group_size` weights of a row (-1: the whole row) have 2^bits levels of equal distance between the least and
    the largest of them and 0, or, with `sym`, on both sides of 0 up to the largest magnitude: the levels that
    gptqmodel's GPTQ rounds to, found from the original weights.
    """
    groups = weight.float().reshape(weight.shape[0], -1, weight.shape[1] if group_size == -1 else group_size)
    levels = 2**bits - 1
    low = groups.amin(dim=2, keepdim=True).clamp(max=0)
    high = groups.amax(dim=2, keepdim=True).clamp(min=0)
    if sym:
        high = torch.maximum(high, -low)
        low = -high
    scale = (high - low) / levels
    scale = torch.where(scale > 0, scale, 1.0)
    zero = torch.full_like(scale, (levels + 1) / 2) if sym else (-low / scale).round()
    nearest = ((groups / scale).round() + zero).clamp(0, levels)
    return ((nearest - zero) * scale).reshape(weight.shape).to(weight.dtype)


def round_to_nearest(layers: dict[str, nn.Module], options: QuantizationOptions) -> None:
    """Put rounded weights in the place of those of linear layers, in the layers themselves."""
    for layer in layers.values():
        weight = layer.weight.data
        assert isinstance(weight, torch.Tensor)
        if isinstance(layer, Conv1D):  # its weights lie the other way round
            layer.weight.data = rounded(weight.T, options.bits, options.group_size, options.sym).T
        else:
            layer.weight.data = rounded(weight, options.bits, options.group_size, options.sym)
