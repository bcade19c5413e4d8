"""Every causal architecture of transformers: its greedy text is that of `generate`, or it is refused clearly."""

import pytest
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tests.models import architectures, census

TRIED = [name for name in architectures.NAMES if name not in architectures.NOT_MADE]


@pytest.mark.parametrize("name", architectures.COMMON)
def test_a_common_model_writes_what_generate_writes_alone_and_among_others(name: str) -> None:
    word, reason = census.served(name)
    assert word in ("paged", "plain")
    assert bool(reason) == (word == "plain")
    assert word == census.written()[name]["served"]


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in TRIED if name not in architectures.COMMON])
def test_every_model_writes_what_generate_writes_or_is_refused_by_its_name(name: str) -> None:
    word, reason = census.served(name)
    assert word in ("paged", "plain") or "can't generate text here" in reason
    assert word == census.written()[name]["served"]


def test_the_page_about_models_has_a_row_for_each_of_the_installed_transformers() -> None:
    assert census.PAGE.read_text().startswith(census.HEAD.format(version=transformers.__version__))
    assert list(census.written()) == sorted(architectures.NAMES)
    untried = {name for name, words in census.written().items() if words["served"] == "not tried"}
    assert untried == set(architectures.NOT_MADE)


def test_every_architecture_of_transformers_is_made_or_has_a_reason_not_to_be() -> None:
    assert set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) <= set(architectures.NAMES)
    assert set(architectures.NOT_MADE) <= set(architectures.NAMES)
    assert set(architectures.COMMON) <= set(TRIED)


@pytest.mark.parametrize("name", architectures.COMMON)
def test_greedy_text_of_a_tiny_model_varies(name: str) -> None:
    """A text of one letter would be the same with a wrong mask."""
    assert all(len(set(text)) > 4 for text in census.expected(*architectures.make(name)))


def test_a_tiny_model_is_the_same_each_time() -> None:
    first, second = (architectures.make("gpt2")[0].state_dict() for _ in range(2))
    assert all((first[name] == second[name]).all() for name in first)
