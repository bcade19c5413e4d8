"""transformers' Trainer, with the batches and the attention of this package, and what it reports."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments
from transformers.trainer import Trainer
from transformers.trainer_callback import PrinterCallback

from models.fine_tuning import attention
from models.fine_tuning.examples import Example, PackedRows, collate
from models.fine_tuning.options import TrainingOptions
from models.tasks.reports import Checkpointed, Measured, Report


class FineTuneError(ValueError):
    """What was asked for can't be trained. The message says what to change."""


class Diverged(FineTuneError):
    """The loss is no longer a number."""


def make_trainer(
    model: PeftModel,
    rows: list[list[Example]],
    evaluation: list[list[Example]] | None,
    options: TrainingOptions,
    work_folder: Path,
    fp16: bool,
    bf16: bool,
) -> "PackedTrainer":
    """A trainer over rows of examples: one training batch is `per_device_train_batch_size` rows."""
    inner = cast(PreTrainedModel, model.base_model.model)
    inner.set_attn_implementation(attention.NAME)
    if options.gradient_checkpointing:
        inner.enable_input_require_grads()
        inner.activation_checkpointing_enable({"use_reentrant": False})
    on_gpu = model.device.type == "cuda"
    arguments = TrainingArguments(
        output_dir=str(work_folder / "checkpoints"),
        per_device_train_batch_size=options.per_device_train_batch_size,
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        warmup_steps=options.warmup_steps,
        max_steps=options.max_steps or -1,
        num_train_epochs=options.num_train_epochs or 1,
        learning_rate=options.learning_rate,
        lr_scheduler_type=options.lr_scheduler_type,
        weight_decay=options.weight_decay,
        max_grad_norm=options.max_grad_norm,
        fp16=fp16,
        bf16=bf16,
        optim=options.optim,
        seed=options.seed,
        logging_steps=options.logging_steps,
        logging_nan_inf_filter=False,
        save_strategy="steps" if options.save_steps else "no",
        save_steps=options.save_steps or 500,
        eval_strategy="steps" if evaluation else "no",
        eval_steps=options.eval_steps,
        per_device_eval_batch_size=1,
        include_num_input_tokens_seen="all",  # there is no padding among them
        remove_unused_columns=False,
        dataloader_pin_memory=on_gpu,
        ddp_find_unused_parameters=False,
        use_cpu=not on_gpu,
        disable_tqdm=True,
        report_to="none",
    )
    trainer = PackedTrainer(
        model=model,
        args=arguments,
        data_collator=collate,
        train_dataset=PackedRows(rows),
        eval_dataset=PackedRows(evaluation) if evaluation else None,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class PackedTrainer(Trainer):
    """Trainer whose evaluation loss is a mean over tokens, and which knows whether the step's losses were numbers."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.step_is_finite = torch.tensor(True, device=self.args.device)

    def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
        loss = super().training_step(*arguments, **named)
        self.step_is_finite &= loss.isfinite()
        return loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        model = cast(torch.nn.Module, self.model).eval()
        totals = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        with torch.no_grad():
            for batch in self.get_eval_dataloader():
                tokens = batch["shift_labels"].numel()
                loss = cast(torch.Tensor, self.compute_loss(model, self._prepare_inputs(batch)))
                totals += torch.stack([loss.double() * tokens, torch.tensor(tokens).to(totals)])
        loss_sum, tokens = self.accelerator.reduce(totals, reduction="sum").tolist()
        metrics = {"eval_loss": loss_sum / tokens}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class Progress(TrainerCallback):
    """Reports what happens, and stops the training when asked to or when there is no sense in it."""

    def __init__(self, trainer: PackedTrainer, report: Callable[[Report], None], should_stop: Callable[[], bool]):
        self.stopped = False
        self._trainer = trainer
        self._report = report
        self._should_stop = should_stop
        self._first_step = 0
        self._tokens = 0
        self._began = self._clock = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._first_step, self._tokens = state.global_step, state.num_input_tokens_seen
        self._began = self._clock = time.monotonic()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self._trainer.step_is_finite.item():
            raise Diverged(
                f"the loss is not a number at step {state.global_step + 1}, with the learning rate at "
                f"{self._trainer._get_learning_rate():g}: lower learning_rate, raise warmup_steps, or train in bf16"
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        wanted = torch.tensor(int(self._should_stop()), device=args.device)
        # All processes must stop after the same step, or the others would wait for ever.
        if self._trainer.accelerator.reduce(wanted, reduction="sum").item() and state.global_step < state.max_steps:
            self.stopped = control.should_training_stop = control.should_save = True
        # A loss is a mean since the last one logged, and a process that goes on from here knows of none before.
        control.should_log |= control.should_save or control.should_evaluate

    def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        moment, logs = time.monotonic(), more["logs"]
        if not state.is_world_process_zero or not logs.keys() & {"loss", "eval_loss"}:
            return
        tokens_per_second = None
        if "loss" in logs:
            tokens_per_second = (state.num_input_tokens_seen - self._tokens) / (moment - self._clock)
            self._tokens = state.num_input_tokens_seen
        self._clock = moment
        per_step = (moment - self._began) / max(1, state.global_step - self._first_step)
        self._report(
            Measured(
                step=state.global_step,
                epoch=float(state.epoch),
                percent_done=100 * state.global_step / state.max_steps,
                remaining_seconds=per_step * (state.max_steps - state.global_step),
                loss=logs.get("loss"),
                learning_rate=logs.get("learning_rate"),
                grad_norm=logs.get("grad_norm"),
                tokens_per_second=tokens_per_second,
                eval_loss=logs.get("eval_loss"),
            )
        )

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._clock = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._trainer.accelerator.wait_for_everyone()  # each process writes its own random state
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle that nobody reads
            self._report(Checkpointed(state.global_step, str(folder)))
        self._clock = time.monotonic()
