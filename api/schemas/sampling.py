"""How tokens are chosen, and where a completion ends: the same for generations and evaluations."""

from typing import Annotated

from pydantic import BaseModel, Field

from api.schemas.common import RequestBody, Text


class SamplingIn(RequestBody):
    max_new_tokens: int | None = Field(None, ge=1, le=131_072, description="Null: what the model's context leaves.")
    temperature: float = Field(0.0, ge=0, le=2, description="0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0, le=1_000_000, description="0 is off.")
    seed: int | None = Field(None, ge=0, lt=2**63, description="The same seed gives the same sample again.")
    stop: list[Annotated[Text, Field(min_length=1, max_length=200)]] = Field(
        [], max_length=16, description="Strings that end the completion, and are not part of it."
    )


class SamplingOut(BaseModel):
    max_new_tokens: int | None
    temperature: float
    top_p: float
    top_k: int
    seed: int | None
    stop: list[str]
