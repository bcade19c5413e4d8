"""Fine-tunes in the test's own process."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoTokenizer

from models.fine_tuning.errors import Diverged, FineTuneError
from models.fine_tuning.options import ALL_LINEAR, LoraOptions
from models.fine_tuning.task import FineTuneTask
from models.fine_tuning.training import fine_tune
from models.loading.loader import load
from models.loading.refs import ModelLoadError, ModelRef
from models.prompts.chat import Prompter
from models.prompts.rows import Message, Row
from models.prompts.templates import PromptOptions, build_prompt
from models.tasks.reports import Checkpoint, Event, PromptTemplate, Report, Step
from tests.models import architectures
from tests.models.fine_tuning.conftest import STARTER

MakeTask = Callable[..., FineTuneTask]

NO_DROPOUT = LoraOptions(dropout=0)
SMALL_STEPS = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}


def train(task: FineTuneTask, stop_after: int | None = None) -> list[Report]:
    """Run a task and return its reports. It is told to stop after `stop_after` steps."""
    reports: list[Report] = []

    def stop() -> bool:
        # called before the step is reported
        return stop_after is not None and len(steps(reports)) >= stop_after - 1

    assert fine_tune(task, reports.append, stop) == (stop_after is None)
    return reports


def steps(reports: list[Report]) -> dict[int, Step]:
    return {report.step: report for report in reports if isinstance(report, Step) and report.loss is not None}


def checkpoint(reports: list[Report]) -> Path:
    return Path([report for report in reports if isinstance(report, Checkpoint)][-1].folder)


def events(reports: list[Report]) -> dict[str, str]:
    return {report.event: report.message for report in reports if isinstance(report, Event)}


def test_the_loss_falls_and_plain_peft_generates_what_was_trained(
    make_task: MakeTask, rows: list[Row], write_rows: Callable[[Path, list[Row]], Path], tmp_path: Path
) -> None:
    shortest = sorted(rows, key=lambda row: len(row.output))[:4]
    few = write_rows(tmp_path / "few.parquet", shortest)
    options = {"max_steps": 20, "learning_rate": 3e-3, "packing": True, "gradient_accumulation_steps": 1}
    task = make_task(base=STARTER, train=few, **options)
    measured = list(steps(train(task)).values())
    assert len(measured) == 20
    assert measured[-1].loss < 0.5 * measured[0].loss  # type: ignore[operator]  # steps() has left out those without
    assert [report.percent_done for report in measured] == [5 * step for step in range(1, 21)]
    assert measured[-1].remaining_seconds == 0
    assert all(report.grad_norm and report.tokens_per_second for report in measured)

    base: Any
    base, tokenizer = load(STARTER, "cpu")
    prompt = tokenizer(build_prompt(shortest[0].instruction, shortest[0].input), return_tensors="pt")
    untrained = tokenizer.decode(base.generate(**prompt, max_new_tokens=150, do_sample=False)[0])
    adapted = PeftModel.from_pretrained(base, str(task.result_folder))
    trained = tokenizer.decode(adapted.generate(**prompt, max_new_tokens=150, do_sample=False)[0])
    assert '<body id="new">' not in untrained
    assert '<body id="new">' in trained
    config = json.loads((task.result_folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "starter"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU adds up in no fixed order")
def test_a_resumed_run_has_the_steps_of_an_uninterrupted_one(make_task: MakeTask) -> None:
    options = {"max_steps": 6, "save_steps": 4, "warmup_steps": 1, "learning_rate": 1e-3, **SMALL_STEPS}
    whole = steps(train(make_task(**options)))
    stopped = train(make_task(**options), stop_after=3)
    assert sorted(steps(stopped)) == [1, 2, 3]
    rest = steps(train(make_task(**options, checkpoint=checkpoint(stopped))))
    assert sorted(rest) == [4, 5, 6]
    for step, report in {**steps(stopped), **rest}.items():
        assert report.loss == pytest.approx(whole[step].loss, abs=1e-6)
        assert report.learning_rate == whole[step].learning_rate
        assert report.grad_norm == pytest.approx(whole[step].grad_norm, abs=1e-6)
    assert len({report.loss for report in whole.values()}) == 6


def test_a_run_resumed_from_its_last_step_only_writes_the_adapter(make_task: MakeTask) -> None:
    task = make_task(max_steps=2)
    last = checkpoint(train(task))
    again = make_task(max_steps=2, checkpoint=last)
    assert not steps(train(again))
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (again.result_folder / name).read_bytes() == (task.result_folder / name).read_bytes()


def test_a_checkpoint_holds_no_pickled_arguments(make_task: MakeTask) -> None:
    """The rest of it is read by torch's restricted loader, which runs no code."""
    assert not list(checkpoint(train(make_task(max_steps=1))).glob("*.bin"))


def test_the_evaluation_loss_is_a_mean_over_tokens(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task(max_steps=2, eval_steps=1, learning_rate=1e-30, evaluation=tmp_path / "rows.parquet")
    losses = [report.eval_loss for report in train(task) if isinstance(report, Step) and report.eval_loss]
    assert len(losses) == 2
    packed = make_task(max_steps=1, packing=True, per_device_train_batch_size=25, learning_rate=1e-30, lora=NO_DROPOUT)
    [everything] = steps(train(packed)).values()
    assert losses[0] == pytest.approx(everything.loss, abs=1e-4)


def test_training_ends_after_the_given_epochs(make_task: MakeTask) -> None:
    task = make_task(max_steps=None, num_train_epochs=2, per_device_train_batch_size=25, gradient_accumulation_steps=1)
    measured = steps(train(task))
    assert sorted(measured) == [1, 2]
    assert measured[2].epoch == 2


def test_a_loss_that_is_not_a_number_ends_the_run_with_its_step_and_learning_rate(make_task: MakeTask) -> None:
    with pytest.raises(Diverged, match=r"at step \d+, .* 1e\+20") as raised:
        train(make_task(max_steps=30, learning_rate=1e20, warmup_steps=0, lr_scheduler_type="constant"))
    assert "lower learning_rate" in str(raised.value)


def test_unknown_target_modules_are_refused_with_the_names_that_the_model_has(make_task: MakeTask) -> None:
    with pytest.raises(FineTuneError, match=r"target_modules: llama has no W_pack, query; it has .*down_proj.*q_proj"):
        train(make_task(lora=LoraOptions(target_modules=["q_proj", "W_pack", "query"])))


def test_a_max_seq_length_beyond_the_context_is_refused_with_both_lengths(make_task: MakeTask) -> None:
    with pytest.raises(FineTuneError, match="max_seq_length is 4096, but the base model's context length is 2048"):
        train(make_task(max_seq_length=4096))


def test_rows_that_are_too_long_are_left_out_with_an_event(make_task: MakeTask) -> None:
    left_out = events(train(make_task(max_steps=1, max_seq_length=150)))["rows-left-out"]
    count, of = (int(word) for word in left_out.split() if word.isdigit() and word != "150")
    assert 0 < count < of == 25


def test_a_dataset_of_too_long_rows_only_is_refused(make_task: MakeTask) -> None:
    with pytest.raises(FineTuneError, match="max_seq_length: each of the 25 rows is longer than 8 tokens"):
        train(make_task(max_seq_length=8))


def test_the_tokenizer_beside_the_adapter_renders_the_prompts_of_the_training(make_task: MakeTask) -> None:
    options = PromptOptions("pagewright-1", system="Write HTML.")
    task = replace(make_task(max_steps=1), prompt=options)
    [template] = [report for report in train(task) if isinstance(report, PromptTemplate)]
    assert template.name == "pagewright-1"
    tokenizer: Any = AutoTokenizer.from_pretrained(task.result_folder)
    messages = [{"role": "user", "content": "Create a page."}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert prompt == Prompter(load(STARTER, "cpu")[1], options).prompt_of(Row("Create a page.", "", ""))


TURNS = (Message("user", "Hello."), Message("assistant", "Which page?", learn=False))


def test_rows_without_an_answer_to_learn_are_left_out_with_an_event(
    make_task: MakeTask, write_rows: Callable[[Path, list[Row]], Path], tmp_path: Path
) -> None:
    rows = [Row("One.", "", "<p>1</p>", TURNS), Row("Two.", "", "<p>2</p>", TURNS, learn=False)]
    file = write_rows(tmp_path / "chats.parquet", rows)
    assert "1 of 2 rows are left out" in events(train(make_task(train=file, max_steps=1)))["rows-without-loss"]
    file = write_rows(tmp_path / "unweighted.parquet", rows[1:])
    with pytest.raises(FineTuneError, match="dataset: none of the 1 rows has an answer to learn"):
        train(make_task(train=file, max_steps=1))


def test_a_chat_that_the_template_refuses_is_named_by_its_row(
    make_task: MakeTask, write_rows: Callable[[Path, list[Row]], Path], tmp_path: Path
) -> None:
    rows = [Row("One.", "", "<p>1</p>", TURNS), Row("Two.", "", "<p>2</p>", (Message("system", "Write."), *TURNS))]
    task = make_task(train=write_rows(tmp_path / "chats.parquet", rows), max_steps=1)
    text = "{% if messages[0].role == 'system' %}{{ raise_exception('No system') }}{% endif %}{{ messages }}"
    with pytest.raises(FineTuneError, match=r"row 1 .*can't render a chat of system, user: No system"):
        train(replace(task, prompt=PromptOptions(text)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU supports float16")
def test_on_a_cpu_fp16_is_replaced_by_float32_with_an_event(make_task: MakeTask) -> None:
    reports = train(make_task(max_steps=1, fp16=True))
    assert "float32" in events(reports)["precision"]
    assert steps(reports)


@pytest.mark.parametrize("options", [{"bf16": True}, {"gradient_checkpointing": True}, {"optim": "adafactor"}])
def test_the_loss_hardly_depends_on_how_it_is_computed(make_task: MakeTask, options: dict[str, Any]) -> None:
    plain = steps(train(make_task(max_steps=2, lora=NO_DROPOUT, **SMALL_STEPS)))
    other = steps(train(make_task(max_steps=2, lora=NO_DROPOUT, **SMALL_STEPS, **options)))
    assert other[1].loss == pytest.approx(plain[1].loss, rel=0.02)
    assert math.isfinite(other[2].loss or math.nan)


SHORT = [Row("One", "", "<p>1</p>"), Row("Twenty-one", "now", "<p>and</p>" * 5), Row("Two", "", "<p>2</p>")]


def test_rows_of_an_architecture_that_can_not_pack_them_are_padded_with_an_event(
    make_task: MakeTask, tiny: Callable[[str], ModelRef], write_rows: Callable[[Path, list[Row]], Path], tmp_path: Path
) -> None:
    options = {"max_steps": 2, "packing": True, "learning_rate": 1e-3, "save_steps": None}
    task = make_task(
        base=tiny("falcon"),
        train=write_rows(tmp_path / "short.parquet", SHORT),
        lora=LoraOptions(target_modules=["query_key_value"]),
        **options,
    )
    reports = train(task)
    assert len(steps(reports)) == 2
    assert "each row of a batch is padded and masked; packing is off" in events(reports)["batches"]
    assert "falcon" in events(reports)["batches"]


def test_a_tokenizer_with_more_tokens_than_the_model_has_is_refused_with_the_row(
    make_task: MakeTask, tiny: Callable[[str], ModelRef], write_rows: Callable[[Path, list[Row]], Path], tmp_path: Path
) -> None:
    base = tiny("llama")
    tokenizer = architectures.tokenizer()
    tokenizer.add_tokens(["<p>"])
    tokenizer.save_pretrained(base.location)
    rows = [Row("One", "", "1"), Row("Two", "", "<p>2</p>")]
    with pytest.raises(ModelLoadError, match=r"does not fit it: row 1 .* has the token 256, .* tokens 0 to 255"):
        train(make_task(base=base, train=write_rows(tmp_path / "short.parquet", rows), max_steps=1))


def test_a_resumed_run_continues_the_adapters_of_experts(
    make_task: MakeTask, tiny: Callable[[str], ModelRef], write_rows: Callable[[Path, list[Row]], Path], tmp_path: Path
) -> None:
    task = {
        "base": tiny("mixtral"),
        "train": write_rows(tmp_path / "short.parquet", SHORT),
        "lora": LoraOptions(target_modules=[ALL_LINEAR], dropout=0),
        "max_steps": 4,
        "save_steps": 2,
        "learning_rate": 1e-2,
        "warmup_steps": 1,
    }
    whole = steps(train(make_task(**task)))
    stopped = train(make_task(**task), stop_after=2)
    rest = steps(train(make_task(**task, checkpoint=checkpoint(stopped))))
    assert {step: report.loss for step, report in rest.items()} == pytest.approx(
        {step: whole[step].loss for step in (3, 4)}, rel=1e-5
    )
