"""Quantizing a model of one layer, with gptqmodel on the CPU."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoTokenizer

from models.loading.loader import describe, load
from models.loading.refs import ModelLoadError, ModelRef, Source
from models.prompts.chat import Prompter
from models.prompts.rows import Row
from models.prompts.templates import build_prompt
from models.quantization.calibration import calibration_tokens
from models.quantization.errors import QuantizationError
from models.quantization.gptq import quantize
from models.quantization.layers import find_layers
from models.quantization.rounding import rounded
from models.tasks.reports import Event, MeasuredVariant, PromptTemplate, QuantizedLayer, QuantizedModule, Report
from tests.adapters import make_adapter
from tests.models.census import save
from tests.models.quantization.conftest import STARTER, MakeTask, Quantization

MODULES = [
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
]
PLAIN_TRANSFORMERS = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer, GPTQConfig

folder, prompt, tokens = sys.argv[1:]
config = GPTQConfig(bits=4, backend="auto_trainable")  # or gptqmodel compiles kernels first
model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=config, dtype="float32")
tokenizer = AutoTokenizer.from_pretrained(folder)
inputs = tokenizer(prompt, return_tensors="pt")
output = model.generate(**inputs, max_new_tokens=int(tokens), do_sample=False)
print("->", output[0, inputs.input_ids.shape[1] :].tolist())
"""


def mean_squares(outputs: torch.Tensor) -> float:
    return float(outputs.double().square().sum(dim=1).mean())


def test_every_module_and_every_layer_is_reported_in_order(quantized: Quantization) -> None:
    modules, layers = quantized.of_kind(QuantizedModule), quantized.of_kind(QuantizedLayer)
    [left] = quantized.of_kind(Event)
    assert re.match(r"\d+ % of the weights are quantized\. \d+ % stay as they are: the embeddings", left.message)
    assert [report.module for report in modules] == MODULES
    assert {report.layer for report in modules} == {0}
    assert len({report.tokens for report in modules}) == 1
    assert all(report.seconds > 0 for report in modules)
    [layer] = layers
    assert (layer.layer, layer.layers, layer.percent_done) == (1, 1, 50), "the other half of the task is the variants"
    assert layer.remaining_seconds >= sum(report.seconds for report in modules), "the other half takes time too"
    variants = quantized.of_kind(MeasuredVariant)
    assert [report.percent_done for report in variants] == pytest.approx([60, 70, 80, 90, 100])
    assert all(report.remaining_seconds for report in variants[:-1])
    assert variants[-1].remaining_seconds == 0
    assert quantized.reports == [*quantized.of_kind(PromptTemplate), left, *modules, *layers, *variants]


def test_the_saved_tokenizer_renders_the_prompts_of_the_calibration(quantized: Quantization) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(quantized.result.location)
    messages = [{"role": "user", "content": "Create a page."}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert tokenizer.decode(prompt) == build_prompt("Create a page.")


def test_the_error_of_a_module_is_the_squared_distance_of_its_outputs(quantized: Quantization) -> None:
    """Measured here for the first module, whose inputs are those of the original model."""
    task = quantized.task
    model, tokenizer = load(task.model, "cpu")
    inputs: list[torch.Tensor] = []
    first = model.get_submodule("model.layers.0.self_attn.q_proj")
    first.register_forward_pre_hook(lambda _, given: inputs.append(given[0][0]))
    widths = find_layers(model).widths
    for text in calibration_tokens(task.calibration, Prompter(tokenizer), task.options, widths):
        model(torch.from_numpy(text)[None].long())
    seen = torch.cat(inputs)
    after = load(quantized.result, "cpu", for_training=True)[0].get_submodule("model.layers.0.self_attn.q_proj")
    with torch.no_grad():
        moved = mean_squares(first(seen) - after(seen))
        output = mean_squares(first(seen))
        nearest = mean_squares(seen @ (first.weight - rounded(first.weight.detach(), 4, 64, sym=True)).T)  # type: ignore[operator]  # a Linear
    report = quantized.of_kind(QuantizedModule)[0]
    assert report.tokens == len(seen)
    assert report.error == pytest.approx(moved, rel=0.01)
    assert report.relative_error == pytest.approx(moved / output, rel=0.01)
    assert moved < nearest


def test_the_result_is_smaller_and_describes_its_quantization_without_the_calibration_texts(
    quantized: Quantization, rows: list[Row]
) -> None:
    folder = Path(quantized.result.location)
    description = describe(quantized.result)
    assert description.quantized
    assert description.dtype == torch.bfloat16
    assert description.weight_bytes < describe(quantized.task.model).weight_bytes
    files = {file.name for file in folder.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json"} <= files
    assert not [name for name in files if name.endswith((".bin", ".pt"))]
    with safe_open(folder / "model.safetensors", "pt") as weights:
        kept = {key: weights.get_tensor(key).dtype for key in weights.keys()}  # noqa: SIM118  # it is no mapping
    assert kept["model.layers.0.self_attn.q_proj.qweight"] == torch.int32
    assert kept["model.embed_tokens.weight"] == torch.bfloat16
    for name, fields in (
        ("config.json", json.loads((folder / "config.json").read_text())["quantization_config"]),
        ("quantize_config.json", json.loads((folder / "quantize_config.json").read_text())),
    ):
        assert (fields["bits"], fields["group_size"], fields["sym"], fields["desc_act"]) == (4, 64, True, False), name
        assert (fields["quant_method"], fields["format"]) == ("gptq", "gptq"), name
        assert not fields["dataset"], name
    texts = "".join(file.read_text() for file in folder.glob("*.json") if file.name != "tokenizer.json")
    assert rows[5].instruction not in texts
    assert str(quantized.task.work_folder) not in texts


def test_plain_transformers_in_a_new_process_generates_the_same_as_our_loader(
    quantized: Quantization, rows: list[Row]
) -> None:
    prompt = build_prompt(rows[0].instruction, rows[0].input)
    process = subprocess.run(
        [sys.executable, "-c", PLAIN_TRANSFORMERS, quantized.result.location, prompt, "40"],
        capture_output=True,
        text=True,
        check=True,
        cwd=quantized.task.work_folder,
    )
    model: Any
    model, tokenizer = load(quantized.result, "cpu", for_training=True)
    inputs: Any = tokenizer(prompt, return_tensors="pt")
    ours = model.generate(**inputs, max_new_tokens=40, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert process.stdout.split("->")[-1].strip() == str(ours.tolist())


@pytest.mark.parametrize(
    "options",
    [
        {"bits": 8, "sym": False, "desc_act": True},
        {"bits": 8, "group_size": -1},
        {"bits": 3},
        {"bits": 2, "group_size": 16, "sym": False},
    ],
    ids=str,
)
def test_with_other_options_the_result_loads_and_is_close_to_the_original(
    run: Callable[..., Quantization], options: dict[str, Any], rows: list[Row]
) -> None:
    done = run(**options)
    before, tokenizer = load(done.task.model, "cpu")
    after, _ = load(done.result, "cpu", for_training=True)
    inputs: Any = tokenizer(build_prompt(rows[0].instruction, rows[0].input), return_tensors="pt")
    with torch.no_grad():
        wanted = before(**inputs).logits
        moved = float((after(**inputs).logits - wanted).norm() / wanted.norm())
    assert moved < {8: 0.02, 3: 0.4, 2: 0.6}[options["bits"]]
    errors = [report.relative_error for report in done.of_kind(QuantizedModule)]
    assert all(error is not None and 0 < error < 0.2 for error in errors)


def test_told_to_stop_the_task_ends_before_the_next_module_and_leaves_no_files(make_task: MakeTask) -> None:
    task = make_task()
    reports: list[Report] = []
    assert not quantize(task, reports.append, lambda: len(reports) == 3)
    assert len(reports) == 3
    assert {file.name for file in task.work_folder.iterdir()} == {"calibration.parquet"}


def test_told_to_stop_while_variants_are_measured_the_task_leaves_no_files(
    make_task: MakeTask, rows: list[Row]
) -> None:
    task = make_task(evaluation=rows[:5])
    reports: list[Report] = []
    assert not quantize(task, reports.append, lambda: bool(reports) and isinstance(reports[-1], MeasuredVariant))
    assert [report.variant for report in reports if isinstance(report, MeasuredVariant)] == ["original"]
    assert {file.name for file in task.work_folder.iterdir()} == {"calibration.parquet", "evaluation.parquet"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_size": 128}, r"group_size: 128 does not divide the 64 inputs of model\.layers\.0\.self_attn\.q_proj"),
        ({"samples": 1, "max_length": 32}, "samples: .* 32 tokens, but 256 are required"),
    ],
    ids=["group_size", "samples"],
)
def test_options_that_do_not_fit_the_model_are_refused_and_leave_no_files(
    make_task: MakeTask, options: dict[str, Any], message: str
) -> None:
    refused(make_task(**options), message)


def test_a_quantized_model_is_refused(make_task: MakeTask, quantized: Quantization) -> None:
    refused(make_task(model=quantized.result), "already quantized")


def test_an_adapter_is_refused_with_the_advice_to_merge_it(make_task: MakeTask, tmp_path: Path) -> None:
    refused(make_task(model=replace(STARTER, adapter=make_adapter(tmp_path))), "merge it")


def test_a_mixture_is_refused_before_any_layer_is_quantized(make_task: MakeTask, tmp_path: Path) -> None:
    refused(make_task(model=save("mixtral", tmp_path)), "of MixtralForCausalLM, .* load the model with 8 or 4 bits")


def test_a_token_beyond_the_embeddings_is_the_models_fault(make_task: MakeTask, tmp_path: Path) -> None:
    save("llama", tmp_path)
    load(STARTER, "cpu")[1].save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match=r"tokenizer does not fit the model: .* the model has 256 embeddings"):
        quantize(make_task(model=ModelRef(Source.LOCAL, str(tmp_path)), group_size=32), print, lambda: False)


def test_without_gptqmodel_the_error_says_what_to_install(make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gptqmodel", None)
    refused(make_task(), "gptqmodel is not installed")


def test_a_missing_model_is_a_load_error(make_task: MakeTask, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"does not exist or has no config\.json"):
        quantize(make_task(model=ModelRef(Source.LOCAL, str(tmp_path))), print, lambda: False)


def refused(task: Any, message: str) -> None:
    with pytest.raises(QuantizationError, match=message):
        quantize(task, print, lambda: False)
    assert {file.name for file in task.work_folder.iterdir()} == {"calibration.parquet"}
