"""Where a model is to be found. Imports no torch, as those who only say which model they mean have no need of it."""

from dataclasses import dataclass, replace
from enum import StrEnum


class ModelLoadError(ValueError):
    """The model can't be loaded, now or later: it is missing, broken, or of a kind that is not supported."""


class Source(StrEnum):
    BUNDLED = "bundled"
    LOCAL = "local"
    HUB = "hub"


@dataclass(frozen=True)
class ModelRef:
    """Where a model is. `location` is a folder of this package, a path, or `owner/name` on the hub.

    `revision` is a hub model's commit; the others have none. `adapter` is the folder of one that PEFT wrote, which is
    loaded over the model; None is the model as it is.
    """

    source: Source
    location: str
    revision: str | None = None
    adapter: str | None = None

    @property
    def base(self) -> "ModelRef":
        """The model without its adapter."""
        return replace(self, adapter=None)
