"""What the experiment asks for: the rows, the models, and how each is made."""

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
"""Training and test rows of the original experiment, which this fraction and seed give."""

ORIGINAL_FIRST = 22
"""Test rows that the original experiment was evaluated on."""

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
"""How the starter model is fine-tuned, chosen on parts of the training rows; docs/experiment.md compares.

Any other is fine-tuned as the original was, which the API's defaults are.
"""


class ExperimentError(Exception):
    """Says which step failed and how, in words for the person at the terminal."""


class System(StrEnum):
    """What is evaluated, in the order of the table."""

    NEAREST_NEIGHBOUR = "nearest neighbour"
    CONSTANT = "constant page"
    BASE = "base"
    BASE_LORA = "base + LoRA"
    GPTQ = "GPTQ base"
    GPTQ_LORA = "GPTQ base + LoRA"


QUANTIZED = {System.BASE: System.GPTQ, System.BASE_LORA: System.GPTQ_LORA}
FINE_TUNED = {System.BASE: System.BASE_LORA, System.GPTQ: System.GPTQ_LORA}
"""What becomes what."""


@dataclass(frozen=True)
class Options:
    """What may differ from run to run. `lora` and `training`, where given, stand for the whole of the recipe's."""

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
        """The `lora` and `training` of each fine-tune."""
        own = STARTER_RECIPE if self.model == STARTER else {"lora": {}, "training": {}}
        lora = dict(own["lora"] if self.lora is None else self.lora)
        training = dict(own["training"] if self.training is None else self.training)
        if self.max_steps is not None:
            training.pop("num_train_epochs", None)
            training["max_steps"] = self.max_steps
        return {"lora": lora, "training": training}

    @property
    def cleans(self) -> bool:
        """Whether the training rows are cleaned: the starter's are, if nothing else was said."""
        return self.model == STARTER if self.clean is None else self.clean

    def limits(self, test_rows: int) -> list[int | None]:
        """The limit of each evaluation, the smaller first, of a split of so many rows; None is all of them."""
        whole = None if self.limit is None or self.limit >= test_rows else self.limit
        return [self.first, whole] if self.first < (whole or test_rows) else [whole]


def named(options: Options, what: str, body: Mapping[str, Any], base_version: str | None) -> dict[str, Any]:
    """The body of a request with a name for what it makes, which is another name as soon as anything else differs.

    So what a run made is found by the next, and never taken for something that was made in another way.
    `base_version` is the commit of the base model, if it has one.
    """
    identity = json.dumps([version("pagewright"), base_version, body], sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    base = re.sub(r"[^A-Za-z0-9._-]", "-", options.model)[-80:]
    return {**body, "name": f"{options.name}-{base}-{what}-{digest}"}
