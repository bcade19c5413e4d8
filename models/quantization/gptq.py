"""GPTQ of Frantar et al. (2022, "GPTQ: accurate post-training quantization for generative pre-trained transformers").

transformers' GPTQConfig says what to do, optimum goes through the layers, and gptqmodel quantizes and packs them.
"""

import gc
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from models.loading.loader import default_device, describe, load
from models.loading.refs import ModelRef, Source
from models.quantization.calibration import calibration_tokens, sample_rows
from models.quantization.layers import check_installed, find_layers
from models.quantization.layerwise import make_quantizer, quantize_layers, save
from models.quantization.options import QuantizationError, QuantizationOptions, Stopped, check, check_group_size
from models.quantization.report import measure_variants
from models.tasks.reports import Report

MADE = "made"
_UNFINISHED = "unfinished"
_SHARE_BESIDE_REPORT = 0.5
"""The part of the task that quantizing counts as where variants are measured after it."""


@dataclass(frozen=True)
class QuantizeTask:
    """`calibration` and `evaluation` are Parquet files with the columns instruction, input and output.

    `work_folder` gets the quantized model in `made`. With `evaluation`, rows that the calibration does not see, the
    variants of the model are then measured on at most `evaluation_rows` of them, drawn by the options' seed.
    """

    model: ModelRef
    calibration: Path
    options: QuantizationOptions
    work_folder: Path
    evaluation: Path | None = None
    evaluation_rows: int = 200


def quantize(task: QuantizeTask, report: Callable[[Report], None], should_stop: Callable[[], bool]) -> bool:
    """Quantize a model and write it to `made` in the work folder, for plain transformers with gptqmodel beside it.

    Reports each module's error, each layer, and then each variant measured. `should_stop` is asked before every module
    and while variants are measured; False if it said so. `made` is there when all is done, and not before. Raises
    QuantizationError, ModelLoadError, and torch's out-of-memory errors.
    """
    unfinished = task.work_folder / _UNFINISHED
    try:
        seconds = _quantize(task, unfinished, report, should_stop)
        if task.evaluation:
            rows = sample_rows(task.evaluation, task.evaluation_rows, task.options.seed)
            made = ModelRef(Source.LOCAL, str(unfinished))
            for measured in measure_variants(
                task.model, made, task.options, rows, seconds, should_stop, share_before=_SHARE_BESIDE_REPORT
            ):
                report(measured)
    except Stopped:
        shutil.rmtree(unfinished, ignore_errors=True)
        return False
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    unfinished.rename(task.work_folder / MADE)
    return True


def _quantize(
    task: QuantizeTask, folder: Path, report: Callable[[Report], None], should_stop: Callable[[], bool]
) -> float:
    """Write the quantized model to the folder. Returns the seconds that it took."""
    start = time.monotonic()
    options = task.options
    check(options)
    check_installed()
    if task.model.adapter is not None:
        raise QuantizationError(
            "model: it is an adapter; merge it with its base first, and quantize what comes of that"
        )
    description = describe(task.model)
    if description.quantized:
        raise QuantizationError(
            "model: its weights are quantized already; name the model that they were quantized from"
        )
    # On the CPU as a whole: optimum takes one layer after the other to the GPU, so that a large model needs little of
    # it. float32 where the CPU computes, whose kernels are slow at the rest.
    dtype = torch.float32 if default_device() == "cpu" else description.dtype
    model, tokenizer = load(task.model, "cpu", dtype)
    layers = find_layers(model)
    check_group_size(options.group_size, layers.widths)
    texts = calibration_tokens(task.calibration, model, tokenizer, options, layers.widths)
    quantizer = make_quantizer(options, texts)
    quantize_layers(model, layers, quantizer, report, should_stop, _SHARE_BESIDE_REPORT if task.evaluation else 1.0)
    save(model, quantizer, description.dtype, folder)
    tokenizer.save_pretrained(folder)
    del model, layers, quantizer
    gc.collect()  # before others are loaded beside it
    return time.monotonic() - start
