"""The model that a build has made, as it is registered and described."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from db.vocabulary import ModelKind


@dataclass(frozen=True)
class ResultModel:
    """The model that a build has made.

    `scores` are the rows of the table of scores in its model card, each with a value by column. They are not
    registered.
    """

    name: str
    kind: ModelKind
    parent_id: uuid.UUID
    dataset_id: uuid.UUID | None
    template: str | None
    parameters: dict[str, Any] | None
    scores: Sequence[Mapping[str, Any]] = ()
