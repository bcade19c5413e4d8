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
    loaded over the model; None is the model as it is. `bitsandbytes` is the number of bits, 8 or 4, that it quantizes
    the model's weights to as they are loaded; None is not at all.
    """

    source: Source
    location: str
    revision: str | None = None
    adapter: str | None = None
    bitsandbytes: int | None = None

    @property
    def base(self) -> "ModelRef":
        """The model without its adapter."""
        return replace(self, adapter=None)
