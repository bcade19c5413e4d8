"""Every causal architecture of transformers: its rows are trained as they are alone, or it is refused clearly."""

import pytest

from models.fine_tuning.batching import Way
from tests.models import architectures
from tests.models.census import written
from tests.models.fine_tuning import census

EXPECTED = dict.fromkeys(("falcon", "bloom", "gemma2", "mamba"), Way.PADDED) | {"phi3-longrope": Way.SINGLE}
"""Of the common models, those that are not packed."""

REPRESENTATIVE = ("gpt2", "mixtral", "falcon", "phi3-longrope")
"""One of each way, one of Conv1D and one of experts: the others cost too much for the normal tests."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in REPRESENTATIVE else pytest.mark.long) for name in architectures.COMMON],
)
def test_a_common_model_learns_from_a_batch_what_it_learns_from_its_rows(name: str) -> None:
    word, reason = census.trained(name)
    assert word == EXPECTED.get(name, Way.PACKED)
    assert bool(reason) == (word != Way.PACKED)
    assert word == written()[name]["LoRA"]


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [name for name in architectures.NAMES if name not in {*architectures.NOT_MADE, *architectures.COMMON}]
)
def test_every_model_learns_from_a_batch_what_it_learns_from_its_rows_or_is_refused(name: str) -> None:
    word, reason = census.trained(name)
    assert word in list(Way) or reason
    assert word == written()[name]["LoRA"]
