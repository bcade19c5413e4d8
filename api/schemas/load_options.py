"""How a job has its model loaded: the same for generations, evaluations and fine-tunes."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.schemas.common import RequestBody


class LoadOptions(RequestBody):
    """Quantize the weights as they are loaded."""

    method: Literal["bitsandbytes"]
    bits: Literal[8, 4] = Field(description="8 is LLM.int8(), 4 is NF4.")


class WithLoadOptionsIn(RequestBody):
    load: LoadOptions | None = Field(
        None,
        description="Null: as the model is stored. The weights of an adapter's base are loaded so, whatever the "
        "adapter was trained over. A model that is quantized already can't be asked for in another way.",
    )

    def loading(self) -> dict[str, Any] | None:
        """What the worker is told."""
        return self.load.model_dump() if self.load else None


class WithLoadOptionsOut(BaseModel):
    load: LoadOptions | None
