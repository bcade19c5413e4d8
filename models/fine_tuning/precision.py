"""Which number format a fine-tune computes in."""

from dataclasses import dataclass

import torch

from models.fine_tuning.options import TrainingOptions


@dataclass(frozen=True)
class Precision:
    """`weights` is what the base model is loaded in; `note` says where this is not what was asked for."""

    weights: torch.dtype
    fp16: bool = False
    bf16: bool = False
    note: str | None = None


def choose_precision(options: TrainingOptions, stored: torch.dtype, device: str) -> Precision:
    """What was asked for where the device can do it.

    If nothing was asked for: on a GPU bf16 for a base model stored so and fp16 for any other, on a CPU float32. The
    adapter's own weights are float32 throughout.
    """
    if device == "cpu":
        if options.fp16:
            return Precision(torch.float32, note="fp16: a CPU can't train in it, so it is done in float32")
        return Precision(torch.float32, bf16=bool(options.bf16))
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if options.bf16 or (options.fp16 is None and options.bf16 is None and stored == torch.bfloat16):
        if has_bf16:
            return Precision(torch.bfloat16, bf16=True)
        note = "bf16: this GPU can't do it, so it is done in fp16" if options.bf16 else None
        return Precision(torch.float16, fp16=True, note=note)
    if options.fp16 is False or (options.fp16 is None and options.bf16 is False):
        return Precision(torch.float32)
    return Precision(torch.float16, fp16=True)
