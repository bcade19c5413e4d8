"""The arguments of a fine-tune. Imports no torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from models.fine_tuning.options import LoraOptions, TrainingOptions
from models.loading.refs import ModelRef
from models.prompts.templates import PromptOptions
from models.tasks.specification import Task


@dataclass(frozen=True, kw_only=True)
class FineTuneTask(Task):
    """Trains a LoRA adapter over the model `base` on the rows of the Parquet file `train`.

    `base_name` is stored in the adapter as the name of its base model. `evaluation` is the Parquet file of the rows
    that are evaluated every `training.eval_steps` steps. `checkpoint` is the folder of a checkpoint that an earlier
    process reported for the same task. Checkpoints go to `checkpoints` in the work folder.
    """

    function: ClassVar[str] = "models.fine_tuning.training:fine_tune"
    base: ModelRef
    base_name: str
    train: Path
    evaluation: Path | None = None
    lora: LoraOptions = field(default_factory=LoraOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    checkpoint: Path | None = None
    prompt: PromptOptions = field(default_factory=PromptOptions)
