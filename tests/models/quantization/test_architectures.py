"""GPTQ of every causal architecture: the quantized model is served right, or the quantization is refused.

The tiny models and the table of the results are in tests/models/census.py.
"""

import re

import pytest

from tests.models import architectures
from tests.models.census import quantized, written

REFUSED_COMMON = {"mixtral"}
SAMPLE = ("llama", "gemma3_text", "falcon", "gpt2", "mixtral")


@pytest.mark.parametrize(
    "name",
    [
        name if name in SAMPLE else pytest.param(name, marks=pytest.mark.long)
        for name in architectures.NAMES
        if name not in architectures.NOT_MADE
    ],
)
def test_a_quantized_model_is_served_as_it_generates_alone_or_is_refused(name: str) -> None:
    word, reason = quantized(name)
    assert word == written()[name]["GPTQ"]
    if word == "refused":
        assert name not in set(architectures.COMMON) - REFUSED_COMMON, reason
        assert re.search("`load`|use another model|raise samples", reason), "it says what to do instead"
