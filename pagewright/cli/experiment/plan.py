"""The plan of the experiment: its rows, its systems, and the options of each job."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import version
from typing import Any

DATASET = "ttbui/alpaca_webgen_html"
TEST_FRACTION, SEED = 0.25, 123
ORIGINAL_ROWS = (396, 132)
"""Numbers of training and test rows of the original experiment. TEST_FRACTION and SEED give this split."""

ORIGINAL_FIRST = 22
"""Number of test rows, from the first, that the original experiment was evaluated on."""

STARTER = "starter"
STARTER_RECIPE: dict[str, dict[str, Any]] = {
    "lora": {
        "r": 16,
        "alpha": 32,
        "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    },
    "training": {
        "num_train_epochs": 4,
        "learning_rate": 1e-4,
        "per_device_train_batch_size": 4,
        "warmup_steps": 10,
        "max_seq_length": 192,
    },
}
"""Fine-tuning options for the starter model, chosen by cross-validation on the training rows (docs/experiment.md).

Other models are fine-tuned with the original experiment's options, which are the defaults of the API.
"""


class ExperimentError(Exception):
    """A step failed. The message is shown to the user."""


class System(StrEnum):
    """The systems that are evaluated, in the order of the table."""

    NEAREST_NEIGHBOUR = "nearest neighbour"
    CONSTANT = "constant page"
    BASE = "base"
    BASE_LORA = "base + LoRA"
    GPTQ = "GPTQ base"
    GPTQ_LORA = "GPTQ base + LoRA"


QUANTIZED = {System.BASE: System.GPTQ, System.BASE_LORA: System.GPTQ_LORA}
"""The quantized counterpart of each system."""
FINE_TUNED = {System.BASE: System.BASE_LORA, System.GPTQ: System.GPTQ_LORA}
"""The system that results from fine-tuning each base."""


@dataclass(frozen=True)
class Options:
    """Options of a run. `lora` and `training` each replace the recipe's options as a whole; None keeps them."""

    model: str = STARTER
    name: str = "experiment"
    revision: str | None = None
    dataset_revision: str | None = None
    lora: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None
    quantization: Mapping[str, Any] = field(default_factory=dict)
    max_steps: int | None = None
    clean: bool | None = None
    max_new_tokens: int | None = None
    first: int = ORIGINAL_FIRST
    limit: int | None = None

    def recipe(self) -> dict[str, dict[str, Any]]:
        """Return the `lora` and `training` options of each fine-tune."""
        recipe = STARTER_RECIPE if self.model == STARTER else {"lora": {}, "training": {}}
        lora = dict(recipe["lora"] if self.lora is None else self.lora)
        training = dict(recipe["training"] if self.training is None else self.training)
        if self.max_steps is not None:
            training.pop("num_train_epochs", None)
            training["max_steps"] = self.max_steps
        return {"lora": lora, "training": training}

    @property
    def cleans(self) -> bool:
        """Whether the training rows are cleaned. By default they are for the starter model only."""
        return self.model == STARTER if self.clean is None else self.clean

    def limits(self, test_rows: int) -> list[int | None]:
        """Return the limits of the evaluations for a split of `test_rows` rows, smaller first. None means all rows."""
        whole = None if self.limit is None or self.limit >= test_rows else self.limit
        return [self.first, whole] if self.first < (whole or test_rows) else [whole]


def named(options: Options, what: str, body: Mapping[str, Any], base_version: str | None) -> dict[str, Any]:
    """Return the request body with a name for its result model. The name has a hash of the body.

    So a later run finds the models of an earlier run with the same options, and never takes a model that was created
    with other options. `base_version` is the commit of the base model, if it has one.
    """
    identity = json.dumps([version("pagewright"), base_version, body], sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    base = re.sub(r"[^A-Za-z0-9._-]", "-", options.model)[-80:]
    return {**body, "name": f"{options.name}-{base}-{what}-{digest}"}
