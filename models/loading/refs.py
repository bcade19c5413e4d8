"""References to models. Imports no torch, so that code that only names a model does not load it."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import PurePath

from models.tasks.errors import TaskError
from models.tasks.reports import Outcome


class ModelLoadError(TaskError):
    """The model can't be loaded, and trying again does not help: it is missing, broken or not supported."""

    outcome = Outcome.MODEL_UNAVAILABLE


class Source(StrEnum):
    BUNDLED = "bundled"
    LOCAL = "local"
    HUB = "hub"


@dataclass(frozen=True)
class ModelRef:
    """A model, and the options that it is loaded with.

    - `location`: the folder's name in this package if bundled, a path if local, `owner/name` on the hub.
    - `revision`: the commit of a hub model, None for others.
    - `adapter`: the folder of an adapter in PEFT's format that is applied to the model, or None.
    - `bitsandbytes`: 8 or 4, the bits to which bitsandbytes quantizes the weights while they are loaded, or None.
    - `name`: the model's name in messages, or None. It is no part of which model is meant.
    """

    source: Source
    location: str
    revision: str | None = None
    adapter: str | None = None
    bitsandbytes: int | None = None
    name: str | None = field(default=None, compare=False)

    @property
    def label(self) -> str:
        """What messages call the model: its name, else its location, of a local folder the last part."""
        return self.name or (PurePath(self.location).name if self.source == Source.LOCAL else self.location)

    @property
    def base(self) -> "ModelRef":
        """The same model without its adapter."""
        return replace(self, adapter=None)
