"""Rounding of weights to the nearest level: the simple method that GPTQ is compared with."""

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from models.quantization.options import QuantizationOptions


def rounded(weight: torch.Tensor, bits: int, group_size: int, sym: bool) -> torch.Tensor:
    """Return the weights, [out, in], rounded to levels that `bits` bits can represent, in their own dtype.

    Each group of `group_size` weights of a row (-1: the whole row) has 2^bits levels at equal distances. They span the
    group's smallest and largest weight and 0; with `sym`, they are symmetric about 0. gptqmodel's GPTQ rounds to the
    same levels, computed from the original weights.
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
    """Replace the weights of linear layers by rounded ones, in place."""
    for layer in layers.values():
        weight = layer.weight.data
        assert isinstance(weight, torch.Tensor)
        if isinstance(layer, Conv1D):  # Conv1D stores its weights as [in, out]
            layer.weight.data = rounded(weight.T, options.bits, options.group_size, options.sym).T
        else:
            layer.weight.data = rounded(weight, options.bits, options.group_size, options.sym)
