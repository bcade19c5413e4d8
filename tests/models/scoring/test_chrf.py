"""chrF agrees with sacrebleu's public functions. Fails if the private methods that models.scoring.chrf calls change."""

import pytest
from sacrebleu.metrics.chrf import CHRF

from models.scoring.chrf import SIGNATURE, corpus_score, count_ngrams, score_of_counts

PAGE = "<!DOCTYPE html><h1>One</h1><p>caf&eacute;</p>"
PAIRS = [
    (PAGE, PAGE),
    (PAGE, PAGE.replace("h1", "h2")),
    ("a cat", "the cat sat on the mat"),
    ("", PAGE),
    (PAGE, ""),
    ("ab", "ab"),
    ("\ud800\0", "\0\ud800"),
]
COMPLETIONS, REFERENCES = map(list, zip(*PAIRS, strict=True))


@pytest.mark.parametrize(("completion", "reference"), PAIRS)
def test_the_score_of_a_pairs_counts_is_sacrebleus_sentence_score(completion: str, reference: str) -> None:
    expected = CHRF().sentence_score(completion, [reference]).score
    assert score_of_counts(count_ngrams(completion, reference)) == pytest.approx(expected, abs=1e-12)


def test_the_score_of_the_sums_of_counts_is_sacrebleus_corpus_score() -> None:
    sums = [sum(column) for column in zip(*(count_ngrams(*pair) for pair in PAIRS), strict=True)]
    expected = CHRF().corpus_score(COMPLETIONS, [REFERENCES]).score
    assert score_of_counts(sums) == pytest.approx(expected, abs=1e-12)
    assert corpus_score(COMPLETIONS, REFERENCES) == expected


def test_the_counts_are_the_ngrams_of_each_order() -> None:
    # order 1: a, b, c and b, c, d, two in both; order 2: ab, bc and bc, cd, one; order 3: abc and bcd, none
    assert count_ngrams("a bc", "bcd") == [3, 3, 2, 2, 2, 1, 1, 1, 0] + [0, 0, 0] * 3


def test_the_signature_names_the_settings_and_the_version() -> None:
    assert SIGNATURE.startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.")


@pytest.mark.parametrize(("completions", "references"), [([], []), (["a"], ["a", "b"])])
def test_a_corpus_score_needs_one_reference_per_completion(completions: list[str], references: list[str]) -> None:
    with pytest.raises(ValueError, match="completions and"):
        corpus_score(completions, references)
