"""Sampling parameters, shared by generations and evaluations."""

from typing import Annotated

from pydantic import BaseModel, Field

from api.schemas.common import RequestBody, Text

MAX_NEW_TOKENS = 131_072


class SamplingIn(RequestBody):
    max_new_tokens: int | None = Field(
        None,
        ge=1,
        le=MAX_NEW_TOKENS,
        description="The maximum number of tokens to generate. Null: as many as fit in the model's context.",
    )
    temperature: float = Field(0.0, ge=0, le=2, description="Sampling temperature; 0 is greedy decoding.")
    top_p: float = Field(
        1.0, gt=0, le=1, description="Sample from the smallest set of tokens whose probabilities add up to `top_p`."
    )
    top_k: int = Field(
        0, ge=0, le=1_000_000, description="Sample from the `top_k` most probable tokens; 0 turns this off."
    )
    seed: int | None = Field(
        None,
        ge=0,
        lt=2**63,
        description="The same seed and request give the same completion. Null: a random seed.",
    )
    stop: list[Annotated[Text, Field(min_length=1, max_length=200)]] = Field(
        [], max_length=16, description="Strings that end the completion. They are not part of it."
    )


class SamplingOut(BaseModel):
    max_new_tokens: int | None
    temperature: float
    top_p: float
    top_k: int
    seed: int | None
    stop: list[str]
