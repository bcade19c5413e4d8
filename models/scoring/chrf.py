"""chrF (Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation") by sacrebleu with its defaults.

The F-score, with recall weighted twice, of character n-grams of orders 1 to 6 without whitespace.

This is the only module that imports sacrebleu. sacrebleu's public functions return a score, not the n-gram counts that
it is computed from, but an evaluation stores the counts of each row so that the chrF of any set of rows follows from
their sums. The counts come from three private methods of `CHRF` as of sacrebleu 2.6: `_extract_reference_info`,
`_compute_segment_statistics` and `_compute_f_score`. `tests/models/scoring/test_chrf.py` fails if they change, and
`pyproject.toml` bounds the version.
"""

from collections.abc import Sequence

from sacrebleu.metrics.chrf import CHRF

_CHRF = CHRF()


def _signature() -> str:
    # sacrebleu refuses to give a signature before it has scored something: only then does it know `nrefs`.
    metric = CHRF()
    metric.sentence_score("", [""])
    return str(metric.get_signature())


SIGNATURE: str = _signature()
"""sacrebleu's signature: the settings and the version that chrF is computed with. Report it with every chrF."""


def count_ngrams(completion: str, reference: str) -> list[int]:
    """Return 18 counts: for each order from 1 to 6 the n-grams of the completion, of the reference, and in both.

    If the reference has no n-gram of an order, sacrebleu counts none for the completion either.
    """
    return _CHRF._compute_segment_statistics(completion, _CHRF._extract_reference_info([reference]))


def score_of_counts(counts: Sequence[int]) -> float:
    """Return the chrF, 0 to 100, of the 18 counts of one pair of texts, or of the sums of the counts of many pairs.

    Without any n-gram, it is 0.
    """
    return _CHRF._compute_f_score(list(counts))


def corpus_score(completions: Sequence[str], references: Sequence[str]) -> float:
    """Return the chrF, 0 to 100, of all completions together, each against the reference at the same position.

    Raises ValueError if there are no completions, or not as many references as completions.
    """
    if not completions or len(completions) != len(references):
        raise ValueError(f"got {len(completions)} completions and {len(references)} references")
    return CHRF().corpus_score(completions, [references]).score
