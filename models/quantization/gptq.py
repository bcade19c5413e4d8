"""The GPTQ task: quantizes a model, then measures the variants of the model.

GPTQ is the method of Frantar et al. (2022, "GPTQ: accurate post-training quantization for generative pre-trained
transformers").
"""

import gc
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from models.loading.loader import default_device, describe, load
from models.loading.properties import first_end
from models.loading.refs import ModelRef, Source
from models.prompts.chat import Prompter
from models.prompts.templates import PromptOptions
from models.quantization.blocks import run_on, unused
from models.quantization.calibration import calibration_tokens, check_vocabulary, sample_rows
from models.quantization.errors import QuantizationError, Stopped
from models.quantization.layers import check_group_size, find_layers
from models.quantization.layerwise import check_installed, make_quantizer, quantize_layers, save
from models.quantization.progress import Progress, remaining_seconds
from models.quantization.task import QuantizeTask
from models.quantization.variants import measure_variants
from models.tasks.reports import Event, PromptTemplate, Report

_UNFINISHED = "unfinished"
_SHARE_WITH_VARIANTS = 0.5
"""The share of the task's progress that the quantization is, if variants are measured after it."""


def quantize(task: QuantizeTask, report: Callable[[Report], None], should_stop: Callable[[], bool]) -> bool:
    """Quantize a model and write it to the result folder, in a format that transformers loads with gptqmodel.

    Reports each module, each layer, and then each variant measured. Calls `should_stop` before every module and while
    variants are measured; if it returns True, deletes what it wrote and returns False. The result folder exists only
    when the task is done. Raises QuantizationError, ModelLoadError, and torch's out-of-memory errors.
    """
    unfinished = task.work_folder / _UNFINISHED
    start = time.monotonic()
    try:
        prompt = _quantize(task, unfinished, report, should_stop, start)
        seconds = time.monotonic() - start
        if task.evaluation:
            rows = sample_rows(task.evaluation, task.evaluation_rows, task.options.seed)
            quantized = ModelRef(Source.LOCAL, str(unfinished))
            for variant in measure_variants(
                task.model, quantized, task.options, prompt, rows, seconds, should_stop, _SHARE_WITH_VARIANTS
            ):
                report(replace(variant, remaining_seconds=remaining_seconds(start, variant.percent_done)))
    except Stopped:
        shutil.rmtree(unfinished, ignore_errors=True)
        return False
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    unfinished.rename(task.result_folder)
    return True


def check_result(folder: Path, text: np.ndarray) -> None:
    """Raise ModelLoadError if the quantized model in the folder can't be loaded, or can't run on a text's tokens.

    Some models (RWKV) use the weights of a layer in a way that a quantized one does not offer.
    """
    model, _ = load(ModelRef(Source.LOCAL, str(folder), name="the quantized model"))
    with torch.inference_mode():
        run_on(model, text)


def _quantize(
    task: QuantizeTask, folder: Path, report: Callable[[Report], None], should_stop: Callable[[], bool], start: float
) -> PromptOptions:
    """Write the quantized model to the folder, and return how to prompt its variants."""
    options = task.options
    check_installed()
    if task.model.adapter is not None:
        raise QuantizationError("model: it is an adapter; merge it with its base model first, then quantize the result")
    description = describe(task.model)
    if description.quantized:
        raise QuantizationError("model: its weights are already quantized; use the model that they were quantized from")
    # The model stays on the CPU, and one block at a time is moved to the GPU, so that a large model needs little
    # GPU memory. Without a GPU, float32 is the fastest dtype.
    dtype = torch.float32 if default_device() == "cpu" else description.dtype
    model, tokenizer = load(task.model, "cpu", dtype)
    prompter = Prompter(tokenizer, task.prompt, first_end(model, tokenizer))
    tokenizer.chat_template = prompter.exported()
    report(PromptTemplate(prompter.template.name, prompter.template.text))
    layers = find_layers(model)
    texts = calibration_tokens(task.calibration, prompter, options, layers.widths)
    check_vocabulary(texts, model)
    with torch.no_grad():
        layers = find_layers(model, unused(model, layers.modules, texts[0]))
    check_group_size(options.group_size, layers.widths)
    report(Event("weights-left", layers.describe_left()))
    quantizer = make_quantizer(options)
    progress = Progress(layers, report, should_stop, _SHARE_WITH_VARIANTS if task.evaluation else 1.0, start)
    quantize_layers(model, layers, quantizer, texts, progress.before_module, progress.after_module)
    save(model, layers, quantizer, description.dtype, folder)
    tokenizer.save_pretrained(folder)
    del model, layers, quantizer, progress
    gc.collect()  # frees the memory before the result is loaded
    check_result(folder, texts[0])
    return prompter.options
