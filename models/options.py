"""The base class of the options of a request. Imports no torch: the API uses the options as its request schemas."""

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Accepts only the fields and the JSON types that it declares, and no number that JSON can't represent."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)
