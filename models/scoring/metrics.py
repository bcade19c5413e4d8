"""Scores of a completion against its reference.

Every metric accepts any two texts and never raises. On texts of up to 200,000 characters each, every metric takes less
than a second (measured by `benchmarks/scoring.py`).

To add a metric: add it to `models.scoring.names.Metric`, to `Scores` and to `SCORERS` here, and as a column to the
table `predictions` with a migration.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

from apted import APTED, Config
from rapidfuzz.distance import Indel, Levenshtein

from models.scoring.chrf import count_ngrams, score_of_counts
from models.scoring.dom import Page, parse
from models.scoring.html import Structure, canonical_form, structure, visible_text
from models.scoring.names import Metric

MAX_TREE_PAIRS = 10_000
"""Limit on the product of two trees' element counts. At this limit, apted (pure Python) took up to 0.3 s: two trees of
100 elements each in the shape of a comb."""
MAX_TREE = 1_000
"""Limit on the elements of one tree. apted's cost grows with each tree alone: 5,400 elements at a depth of 100 against
a tree of one element took 1 s."""
MAX_CHARACTERS = 50_000
MAX_CHRF_CHARACTERS = 100_000
"""sacrebleu (pure Python) took up to 1.1 s for two texts of 200,000 characters with few n-grams in common."""


@dataclass(frozen=True)
class Scores:
    """The scores of one row, in the ranges that this module's functions document. None: not requested.

    `parse_errors` is the number of parse errors of the completion and is set together with `validity`;
    `chrf_statistics` are the counts of `chrf_statistics()` and are set together with `chrf`.
    """

    exact_match: float | None = None
    normalized_exact_match: float | None = None
    chrf: float | None = None
    validity: float | None = None
    structural_similarity: float | None = None
    text_similarity: float | None = None
    parse_errors: int | None = None
    chrf_statistics: list[int] | None = None


def score(completion: str, reference: str, metrics: Collection[str] = tuple(Metric)) -> Scores:
    """Score one completion by the given metrics. Each text is parsed at most once.

    Raises ValueError for a name that is not a Metric.
    """
    unknown = set(metrics) - set(Metric)
    if unknown:
        raise ValueError(f"unknown metrics: {', '.join(sorted(unknown))}")
    pair = Pair(completion, reference)
    values: dict[str, float] = {name: SCORERS[Metric(name)](pair) for name in metrics}
    return Scores(
        **values,
        parse_errors=len(pair.completion_page.errors) if Metric.VALIDITY in values else None,
        chrf_statistics=pair.chrf_statistics if Metric.CHRF in values else None,
    )


def exact_match(completion: str, reference: str) -> float:
    """Return 1.0 if the texts are equal after whitespace at both ends is removed, else 0.0."""
    return float(completion.strip() == reference.strip())


def normalized_exact_match(completion: str, reference: str) -> float:
    """Return 1.0 if the texts match exactly or have the same `models.scoring.html.canonical_form`, else 0.0.

    A page beyond the parser's limits has no canonical form, so it can only match exactly.
    """
    return _normalized_exact_match(Pair(completion, reference))


def chrf(completion: str, reference: str) -> float:
    """Return the chrF of `models.scoring.chrf`, 0 to 100.

    Two texts of nothing but whitespace score 100. They have no n-grams, and sacrebleu's score of 0 would make an empty
    page differ from itself. Only the first 100,000 characters of each text are scored.
    """
    return _chrf(Pair(completion, reference))


def chrf_statistics(completion: str, reference: str) -> list[int]:
    """Return the 18 counts of `models.scoring.chrf.count_ngrams`, of the first 100,000 characters of each text.

    The chrF of a corpus is computed from the sums of its rows' counts.
    """
    return Pair(completion, reference).chrf_statistics


def validity(completion: str) -> float:
    """Return 1.0 if the completion, read as a whole document, has no HTML5 parse error, else 0.0."""
    return _validity(Pair(completion, ""))


def structural_similarity(completion: str, reference: str) -> float:
    """Return how similar the trees of elements are, 0 to 1. Texts and attributes are ignored.

    This is TEDS (Zhong, ShafieiBavani and Jimeno Yepes 2020, "Image-based table recognition: data, model, and
    evaluation") with tags as labels: 1 - distance / (elements of the larger tree), but not below 0. The distance is the
    tree edit distance: the least number of elements to insert, delete or rename, computed by APTED (Pawlik and Augsten
    2016). `html`, `head` and `body` are left out: the parser adds them to any text, so that an empty page would be
    similar to every other page.

    If the product of the trees' sizes exceeds 10,000 (two trees of 100 elements, say), or one tree has more than 1,000
    elements, the tree edit distance is replaced by a lower bound of it: the larger of the Levenshtein distances between
    the tags in preorder and between the tags in postorder (Guha et al. 2002, "Approximate XML joins"). Of a page beyond
    the parser's limits, only the part before the limit is compared.
    """
    return _structural_similarity(Pair(completion, reference))


def text_similarity(completion: str, reference: str) -> float:
    """Return how similar the visible texts (`models.scoring.html.visible_text`) are, 0 to 1.

    This is rapidfuzz's normalized Indel similarity: twice the length of the longest common subsequence, divided by the
    sum of both lengths. Lengths are in characters, or in words if a text has more than 50,000 characters. Two pages
    without visible text score 1. Of a page beyond the parser's limits, only the part before the limit is compared.
    """
    return _text_similarity(Pair(completion, reference))


@dataclass(frozen=True)
class Pair:
    """A completion and its reference, with the intermediate results that several metrics share, computed on demand."""

    completion: str
    reference: str

    @cached_property
    def completion_page(self) -> Page:
        return parse(self.completion)

    @cached_property
    def reference_page(self) -> Page:
        return parse(self.reference)

    @cached_property
    def chrf_statistics(self) -> list[int]:
        return count_ngrams(self.completion[:MAX_CHRF_CHARACTERS], self.reference[:MAX_CHRF_CHARACTERS])


def _exact_match(pair: Pair) -> float:
    return exact_match(pair.completion, pair.reference)


def _normalized_exact_match(pair: Pair) -> float:
    if exact_match(pair.completion, pair.reference):
        return 1.0
    if not (pair.completion_page.complete and pair.reference_page.complete):
        return 0.0
    return float(canonical_form(pair.completion_page) == canonical_form(pair.reference_page))


def _chrf(pair: Pair) -> float:
    if not pair.completion.strip() and not pair.reference.strip():
        return 100.0
    return score_of_counts(pair.chrf_statistics)


def _validity(pair: Pair) -> float:
    return float(not pair.completion_page.errors)


def _structural_similarity(pair: Pair) -> float:
    completion, reference = structure(pair.completion_page), structure(pair.reference_page)
    if completion == reference:
        return 1.0
    smaller, larger = sorted((len(completion.tags), len(reference.tags)))
    if smaller * larger <= MAX_TREE_PAIRS and larger <= MAX_TREE:
        distance = APTED(_tree(completion), _tree(reference), _UnitCosts()).compute_edit_distance()
    else:
        distance = max(
            Levenshtein.distance(completion.tags, reference.tags),
            Levenshtein.distance(_postorder(completion), _postorder(reference)),
        )
    return max(0.0, 1 - distance / larger)


def _text_similarity(pair: Pair) -> float:
    completion, reference = visible_text(pair.completion_page), visible_text(pair.reference_page)
    if max(len(completion), len(reference)) > MAX_CHARACTERS:
        return Indel.normalized_similarity(completion.split(), reference.split())
    return Indel.normalized_similarity(completion, reference)


SCORERS: dict[Metric, Callable[[Pair], float]] = {
    Metric.EXACT_MATCH: _exact_match,
    Metric.NORMALIZED_EXACT_MATCH: _normalized_exact_match,
    Metric.CHRF: _chrf,
    Metric.VALIDITY: _validity,
    Metric.STRUCTURAL_SIMILARITY: _structural_similarity,
    Metric.TEXT_SIMILARITY: _text_similarity,
}


class _Node:
    def __init__(self, name: str) -> None:
        self.name = name
        self.children: list[_Node] = []


class _UnitCosts(Config):
    def rename(self, node1: _Node, node2: _Node) -> int:
        return int(node1.name != node2.name)


def _tree(elements: Structure) -> _Node:
    """Return the elements below an added root: apted compares trees, not forests. Matching the roots costs nothing."""
    path = [_Node("")]
    for tag, depth in zip(elements.tags, elements.depths, strict=True):
        del path[depth + 1 :]
        node = _Node(tag)
        path[-1].children.append(node)
        path.append(node)
    return path[0]


def _postorder(elements: Structure) -> list[str]:
    tags: list[str] = []
    path: list[str] = []
    for tag, depth in zip(elements.tags, elements.depths, strict=True):
        tags += reversed(path[depth:])
        path[depth:] = [tag]
    return tags + path[::-1]
