from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from api.schemas.common import MAX_INT32, Name, NewModelName, QueryParameters, RequestBody
from api.schemas.jobs import JobEventOut, JobOut, job_fields
from api.schemas.load_options import LoadOptionsIn, LoadOptionsOut
from db.queries.fine_tunes import FineTuneRow
from db.tables.fine_tunes import FineTuneStep
from db.tables.jobs import JobEvent
from db.vocabulary import Split

ModuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,99}$")]
DEFAULT_MAX_STEPS = 100

# What the fields' validators check of two fields at once, for the document.
_NOT_NULL: dict[str, Any] = {name: {"not": {"type": "null"}} for name in ("max_steps", "num_train_epochs")}
_TRUE: dict[str, Any] = {name: {"const": True} for name in ("fp16", "bf16")}


class LoraIn(RequestBody):
    """PEFT's LoraConfig; the defaults are the original experiment's."""

    r: int = Field(8, ge=1, le=1024, description="The rank.")
    alpha: int = Field(32, ge=1, le=65_536, description="alpha / r scales the update.")
    dropout: float = Field(0.05, ge=0, lt=1)
    target_modules: list[ModuleName] = Field(
        ["q_proj", "k_proj", "v_proj", "o_proj"], min_length=1, max_length=64, description="Linear layers, by name."
    )
    bias: Literal["none", "all", "lora_only"] = "none"
    task_type: Literal["CAUSAL_LM"] = "CAUSAL_LM"


class TrainingIn(RequestBody):
    """transformers' TrainingArguments by name; the defaults are the original experiment's."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"not": {"required": ["max_steps", "num_train_epochs"], "properties": _NOT_NULL}},
                {"not": {"required": ["fp16", "bf16"], "properties": _TRUE}},
            ]
        }
    )

    per_device_train_batch_size: int = Field(2, ge=1, le=4096, description="Rows a device computes at once.")
    gradient_accumulation_steps: int = Field(4, ge=1, le=65_536)
    warmup_steps: int = Field(2, ge=0, le=10_000_000)
    max_steps: int | None = Field(None, ge=1, le=10_000_000, description="Default: 100, if no epochs are given.")
    num_train_epochs: float | None = Field(None, gt=0, le=10_000, description="Instead of `max_steps`.")
    learning_rate: float = Field(2e-4, gt=0)
    lr_scheduler_type: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
    ] = "linear"
    weight_decay: float = Field(0.0, ge=0, le=1)
    max_grad_norm: float = Field(1.0, ge=0, le=1e6, description="0 does not clip.")
    fp16: bool | None = Field(None, description="Null, like `bf16`: as the base model and the device have it.")
    bf16: bool | None = None
    gradient_checkpointing: bool = Field(False, description="Less memory, more time.")
    packing: bool = Field(
        False, description="Fill each row up to `max_seq_length` with whole examples, which do not see each other."
    )
    logging_steps: int = Field(1, ge=1, le=10_000_000)
    save_steps: int | None = Field(50, ge=1, le=10_000_000, description="Steps between checkpoints; null: none.")
    eval_steps: int | None = Field(
        None, ge=1, le=10_000_000, description="Steps between evaluations on the other split; null: none."
    )
    optim: Literal["adamw_torch", "adamw_torch_fused", "adamw_hf", "adafactor", "sgd"] = Field(
        "adamw_torch", description="`adamw_hf` is no more; it is taken as `adamw_torch`."
    )
    seed: int = Field(42, ge=0, le=2**32 - 1)
    max_seq_length: int | None = Field(
        None, ge=8, le=1_048_576, description="Tokens; longer rows are left out. Null: the context, 4,096 at most."
    )
    train_on_prompt: bool = Field(False, description="Count the loss on the prompt, too.")

    @field_validator("num_train_epochs")
    @classmethod
    def _one_length(cls, epochs: float | None, others: ValidationInfo) -> float | None:
        if epochs is not None and others.data.get("max_steps") is not None:
            raise ValueError("give either this or max_steps")
        return epochs

    @field_validator("bf16")
    @classmethod
    def _one_precision(cls, bf16: bool | None, others: ValidationInfo) -> bool | None:
        if bf16 and others.data.get("fp16"):
            raise ValueError("give either this or fp16")
        return bf16

    def options(self) -> dict[str, Any]:
        """What the worker is to do, by the names of its TrainingOptions."""
        options = self.model_dump()
        if self.max_steps is None and self.num_train_epochs is None:
            options["max_steps"] = DEFAULT_MAX_STEPS
        if self.optim == "adamw_hf":
            options["optim"] = "adamw_torch"
        return options


class FineTuneIn(LoadOptionsIn):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "starter",
                    "dataset": "pages",
                    "name": "starter-pages",
                    "lora": {"r": 16, "alpha": 32},
                    "training": {"num_train_epochs": 3, "packing": True, "eval_steps": 20},
                },
                {
                    "model": "starter",
                    "dataset": "pages",
                    "name": "starter-pages-nf4",
                    "load": {"method": "bitsandbytes", "bits": 4},
                },
            ]
        }
    )

    model: Name = Field(description="The name of the base model: a registered full model.")
    dataset: Name = Field(description="The name of a dataset.")
    split: Split = Field(Split.TRAIN, strict=False, description="The split to train on.")
    name: NewModelName = Field(description="The name of the adapter.")
    lora: LoraIn = LoraIn()
    training: TrainingIn = TrainingIn()
    devices: int = Field(1, ge=1, le=64, description="The number of GPUs. Each computes batches of its own.")


class FineTuneOut(LoadOptionsOut, JobOut):
    """A fine-tuning job: the request, and the adapter when the job has succeeded."""

    model: str
    dataset: str
    split: Split
    name: str = Field(description="The name of the adapter.")
    lora: dict[str, Any]
    training: dict[str, Any]
    devices: int
    checkpoint_step: int | None = Field(
        description="The step of the latest checkpoint, from which another attempt would continue."
    )

    @classmethod
    def of_row(cls, row: FineTuneRow) -> Self:
        return cls(**_fields(row))


class FineTuneDetails(FineTuneOut):
    events: list[JobEventOut] = Field(description="What happened while the job ran, oldest first.")

    @classmethod
    def of_row_and(cls, row: FineTuneRow, events: Sequence[JobEvent]) -> Self:
        return cls(**_fields(row), events=[JobEventOut.of(event) for event in events])


def _fields(row: FineTuneRow) -> dict[str, Any]:
    fine_tune = row.request
    return {
        **job_fields(row.job),
        "model": row.model.name,
        "dataset": row.dataset.name,
        "split": fine_tune.split,
        "name": fine_tune.name,
        "lora": fine_tune.lora,
        "training": fine_tune.training,
        "load": fine_tune.load,
        "devices": fine_tune.devices,
        "checkpoint_step": fine_tune.checkpoint_step,
    }


class StepOut(BaseModel):
    """The measurements of one optimizer step. Losses are means over tokens, in nats."""

    step: int = Field(description="The number of the step, from 1.")
    epoch: float = Field(description="Passes over the training rows after this step.")
    loss: float | None = Field(description="The training loss; null if it was not logged at this step.")
    learning_rate: float | None
    grad_norm: float | None = Field(description="The norm of the gradient before clipping.")
    tokens_per_second: float | None
    eval_loss: float | None = Field(description="The loss on the other split; null if it was not measured here.")

    @classmethod
    def of(cls, step: FineTuneStep) -> Self:
        return cls.model_validate(step, from_attributes=True)


class StepsQuery(QueryParameters):
    limit: int = Field(1000, ge=1, le=1000, description="The maximum number of steps to return.")
    after: int = Field(-1, ge=-1, le=MAX_INT32, description="The value of `next` on the previous page.")


class StepsOut(BaseModel):
    """One page of steps, in order."""

    items: list[StepOut]
    next: int | None = Field(description="The value of `after` for the next page; null on the last page.")
