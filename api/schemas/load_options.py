"""Load options: how the weights of a job's model are loaded. Shared by generations, evaluations and fine-tunes."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.schemas.common import RequestBody


class LoadOptions(RequestBody):
    """Quantize the weights while they are loaded."""

    method: Literal["bitsandbytes"] = Field(description="The library that quantizes the weights.")
    bits: Literal[8, 4] = Field(description="8 for LLM.int8(), 4 for NF4.")


class LoadOptionsIn(RequestBody):
    """The base class of requests that can set load options."""

    load: LoadOptions | None = Field(
        None,
        description="How to load the model's weights; null loads them as they are stored. For an adapter, these "
        "options apply to its base model, regardless of how the base model was loaded for training. A model that is "
        "already quantized can't be quantized again.",
    )

    def load_options(self) -> dict[str, Any] | None:
        """The load options as stored with the job; None for weights as they are stored."""
        return self.load.model_dump() if self.load else None


class LoadOptionsOut(BaseModel):
    load: LoadOptions | None = Field(description="How the model's weights are loaded; null: as they are stored.")
