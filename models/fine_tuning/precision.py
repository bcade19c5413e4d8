"""The number format that a fine-tune computes in."""

from dataclasses import dataclass

import torch

from models.fine_tuning.options import TrainingOptions


@dataclass(frozen=True)
class Precision:
    """The base model's weights are loaded as `weights`. `note` explains a difference from the request, if any."""

    weights: torch.dtype
    fp16: bool = False
    bf16: bool = False
    note: str | None = None


def choose_precision(options: TrainingOptions, stored: torch.dtype, device: str) -> Precision:
    """Return the requested precision, or the nearest one that the device supports.

    Without a request: float32 on a CPU; on a GPU, bfloat16 for a base model stored in bfloat16, else float16. The
    adapter's own weights are always float32.
    """
    if device == "cpu":
        if options.fp16:
            return Precision(torch.float32, note="fp16: a CPU does not support it, so training is in float32")
        return Precision(torch.float32, bf16=bool(options.bf16))
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if options.bf16 or (options.fp16 is None and options.bf16 is None and stored == torch.bfloat16):
        if has_bf16:
            return Precision(torch.bfloat16, bf16=True)
        note = "bf16: this GPU does not support it, so training is in float16" if options.bf16 else None
        return Precision(torch.float16, fp16=True, note=note)
    if options.fp16 is False or (options.fp16 is None and options.bf16 is False):
        return Precision(torch.float32)
    return Precision(torch.float16, fp16=True)
