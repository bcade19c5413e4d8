from collections.abc import Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import MAX_INT32, Name, NewModelName, QueryParameters
from api.schemas.jobs import JobEventOut, JobOut, job_fields
from api.schemas.load_options import LoadOptionsIn, LoadOptionsOut
from api.schemas.prompting import PromptIn, PromptOut
from db.queries.fine_tunes import FineTuneRow
from db.tables.fine_tunes import FineTuneStep
from db.tables.jobs import JobEvent
from db.vocabulary import Split
from models.fine_tuning.options import LoraOptions, TrainingOptions


class FineTuneIn(LoadOptionsIn, PromptIn):
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

    model: Name = Field(description="The name or id of the base model: a registered full model.")
    dataset: Name = Field(description="The name or id of a dataset.")
    split: Split = Field(Split.TRAIN, strict=False, description="The split to train on.")
    name: NewModelName = Field(description="The name of the adapter.")
    lora: LoraOptions = LoraOptions()
    training: TrainingOptions = TrainingOptions()
    devices: int = Field(1, ge=1, le=64, description="The number of GPUs. Each computes batches of its own.")


class FineTuneOut(LoadOptionsOut, PromptOut, JobOut):
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
        **{name: getattr(fine_tune, name) for name in PromptOut.model_fields},
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
