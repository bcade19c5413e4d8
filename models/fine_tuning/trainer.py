"""transformers' Trainer with the batches and the loss of this package. The only module that uses Trainer.

Written for transformers 5.23. It overrides `training_step`, `compute_loss` and `evaluate`, which transformers documents
for that, sets `model_accepts_loss_kwargs`, and knows of a checkpoint that it is a folder `checkpoint-STEP` with the
files `trainer_state.json` and `training_args.bin`.
tests/models/fine_tuning/test_trainer.py fails when one of these changes.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import PreTrainedModel, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer import Trainer
from transformers.trainer_callback import PrinterCallback

from models.fine_tuning.batching import Collator, Way, model_inputs, token_losses
from models.fine_tuning.errors import Diverged
from models.fine_tuning.examples import Example, PackedRows
from models.fine_tuning.options import TrainingOptions, one_row_at_a_time, replace_removed_optimizer
from models.loading.first_run import lasting_errors
from models.tasks.reports import Checkpoint, Report, Step


def make_trainer(
    model: PeftModel,
    rows: list[list[Example]],
    evaluation: list[list[Example]],
    options: TrainingOptions,
    way: Way,
    work_folder: Path,
    fp16: bool,
    bf16: bool,
) -> "RowsTrainer":
    """Return a trainer for rows of examples. An optimizer step takes `per_device_train_batch_size` rows, times
    `gradient_accumulation_steps`, on each device.

    The rows become batches in the given `way`, for which the model must be prepared (`check.choose_way`). Checkpoints
    go to the folder `checkpoints` in the work folder.
    """
    inner = cast(PreTrainedModel, model.base_model.model)
    if way == Way.SINGLE:
        options = one_row_at_a_time(options)
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
        optim=replace_removed_optimizer(options).optim,
        seed=options.seed,
        logging_steps=options.logging_steps,
        logging_nan_inf_filter=False,
        save_strategy="steps" if options.save_steps else "no",
        save_steps=options.save_steps or 500,
        eval_strategy="steps" if evaluation else "no",
        eval_steps=options.eval_steps,
        per_device_eval_batch_size=1,
        include_num_input_tokens_seen="non_padding" if way == Way.PADDED else "all",
        remove_unused_columns=False,
        dataloader_pin_memory=on_gpu,
        ddp_find_unused_parameters=False,
        use_cpu=not on_gpu,
        disable_tqdm=True,
        report_to="none",
    )
    trainer = RowsTrainer(
        model=model,
        args=arguments,
        data_collator=Collator.for_model(inner, way),
        compute_loss_func=partial(_mean_loss, inner.config.get_text_config()),
        train_dataset=PackedRows(rows),
        eval_dataset=PackedRows(evaluation) if evaluation else None,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def is_complete(checkpoint: Path) -> bool:
    """Return whether a checkpoint is that of the last step, so that no training is left."""
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    return state.global_step >= state.max_steps


def _mean_loss(config: Any, output: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor) -> torch.Tensor:
    """Return the part of a step's loss that one batch contributes: a sum over its tokens, divided by those of the step.

    Architectures differ in whether their own loss knows the number of the step's tokens, so this one is used for all.
    A mixture of experts may add a loss for the balance of its experts.
    """
    losses = token_losses(output.logits, labels)
    balance = getattr(output, "aux_loss", None)
    total = losses.sum()
    if balance is not None and getattr(config, "output_router_logits", False):
        total = total + config.router_aux_loss_coef * balance.to(total.device) * len(losses)
    return total / num_items_in_batch


class RowsTrainer(Trainer):
    """A Trainer that computes every loss as a mean over tokens, whatever the architecture.

    `step_is_finite` says whether all losses since the start are finite numbers.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.model_accepts_loss_kwargs = False  # Trainer would hand the number of tokens to the model
        self.step_is_finite = torch.tensor(True, device=self.args.device)

    def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
        first = self.state.global_step == 0
        with lasting_errors("model: a training step") if first else nullcontext():
            loss = super().training_step(*arguments, **named)
        self.step_is_finite &= loss.isfinite()
        return loss

    def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **named: Any) -> Any:
        # Trainer takes `labels` out of the batch and hands the rest to the model.
        return super().compute_loss(model, {**model_inputs(inputs), "labels": inputs["labels"]}, *arguments, **named)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return the loss on the evaluation rows as `eval_loss`: a mean over tokens, in nats.

        Trainer's own is a mean over batches, which gives the tokens of short rows more weight.
        """
        model = cast(torch.nn.Module, self.model).eval()
        totals = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        with torch.no_grad():
            for batch in self.get_eval_dataloader():
                losses = token_losses(model(**model_inputs(batch)).logits, batch["labels"])
                totals += torch.stack([losses.double().sum(), torch.tensor(len(losses)).to(totals)])
        loss_sum, tokens = self.accelerator.reduce(totals, reduction="sum").tolist()
        metrics = {"eval_loss": loss_sum / tokens}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class Progress(TrainerCallback):
    """Reports steps and checkpoints, and stops the training when `should_stop` says so.

    `stopped` says whether it did. Raises Diverged if a loss is not a finite number.
    """

    def __init__(self, trainer: RowsTrainer, report: Callable[[Report], None], should_stop: Callable[[], bool]):
        self.stopped = False
        self._trainer = trainer
        self._report = report
        self._should_stop = should_stop
        self._first_step = 0
        self._tokens = 0
        self._start = self._clock = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._first_step, self._tokens = state.global_step, state.num_input_tokens_seen
        self._start = self._clock = time.monotonic()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if not self._trainer.step_is_finite.item():
            [learning_rate, *_] = more["lr_scheduler"].get_last_lr()
            raise Diverged(
                f"the loss is not a number at step {state.global_step + 1}, where the learning rate is "
                f"{learning_rate:g}: lower learning_rate, raise warmup_steps, or train in bf16"
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        should_stop = torch.tensor(int(self._should_stop()), device=args.device)
        # All processes must stop after the same step, or the others would wait forever.
        if (
            self._trainer.accelerator.reduce(should_stop, reduction="sum").item()
            and state.global_step < state.max_steps
        ):
            self.stopped = control.should_training_stop = control.should_save = True
        # A logged loss is the mean since the last log, and a process that resumes has none of the losses before.
        control.should_log |= control.should_save or control.should_evaluate

    def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        now, logs = time.monotonic(), more["logs"]
        if not state.is_world_process_zero or not logs.keys() & {"loss", "eval_loss"}:
            return
        tokens_per_second = None
        if "loss" in logs:
            tokens_per_second = (state.num_input_tokens_seen - self._tokens) / (now - self._clock)
            self._tokens = state.num_input_tokens_seen
        self._clock = now
        seconds_per_step = (now - self._start) / max(1, state.global_step - self._first_step)
        self._report(
            Step(
                step=state.global_step,
                epoch=float(state.epoch),
                percent_done=100 * state.global_step / state.max_steps,
                remaining_seconds=seconds_per_step * (state.max_steps - state.global_step),
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
            (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle, which nothing reads
            self._report(Checkpoint(state.global_step, str(folder)))
        self._clock = time.monotonic()
