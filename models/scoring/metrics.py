"""How close a page that a model wrote is to the page that was wanted.

Every metric takes any two texts. On texts of up to 200,000 characters each takes less than a second, and none raises.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

from apted import APTED, Config
from rapidfuzz.distance import Indel, Levenshtein
from sacrebleu.metrics.chrf import CHRF

from models.scoring.dom import Page, parse
from models.scoring.html import Structure, canonical_form, structure, visible_text

METRICS: tuple[str, ...] = (
    "exact_match",
    "normalized_exact_match",
    "chrf",
    "validity",
    "structural_similarity",
    "text_similarity",
)
MAX_TREE_PAIRS = 10_000
"""Pairs of elements. apted, in Python, took 0.3 s for the worst of them, two combs of 100 elements each."""
MAX_TREE = 1_000
"""Elements. Each costs apted something whatever the other tree: 5,400 at a depth of 100 beside one took 1 s."""
MAX_CHARACTERS = 50_000
MAX_CHRF_CHARACTERS = 100_000
"""sacrebleu, in Python, took up to 1.1 s for twice as many in each text, where few n-grams are the same."""


def _chrf_signature() -> str:
    # sacrebleu knows how many references there are when it has scored something
    metric = CHRF()
    metric.sentence_score("", [""])
    return str(metric.get_signature())


CHRF_SIGNATURE: str = _chrf_signature()
"""How chrF was computed, in sacrebleu's own words; to be given wherever the figure is."""
_CHRF = CHRF()


@dataclass(frozen=True)
class Scores:
    """What was asked for of one row; the rest is None. Ranges and meanings are those of the functions of this module.

    `parse_errors` counts those of the completion and comes with `validity`; `chrf_statistics` comes with `chrf`.
    """

    exact_match: float | None = None
    normalized_exact_match: float | None = None
    chrf: float | None = None
    validity: float | None = None
    structural_similarity: float | None = None
    text_similarity: float | None = None
    parse_errors: int | None = None
    chrf_statistics: list[int] | None = None


def score(completion: str, reference: str, metrics: Collection[str] = METRICS) -> Scores:
    """Some of METRICS for one completion. Parses each text at most once. Raises ValueError for an unknown metric."""
    unknown = set(metrics) - set(METRICS)
    if unknown:
        raise ValueError(f"unknown metrics: {', '.join(sorted(unknown))}")
    pair = _Pair(completion, reference)
    values: dict[str, float] = {name: _SCORERS[name](pair) for name in metrics}
    return Scores(
        **values,
        parse_errors=len(pair.completion_page.errors) if "validity" in values else None,
        chrf_statistics=pair.chrf_statistics if "chrf" in values else None,
    )


def exact_match(completion: str, reference: str) -> float:
    """1.0 if the texts are equal but for whitespace around them, else 0.0."""
    return float(completion.strip() == reference.strip())


def normalized_exact_match(completion: str, reference: str) -> float:
    """1.0 if the texts are the same page, as `models.scoring.html.canonical_form` has it, or match exactly, else 0.0.

    A page beyond the parser's limits is the same as another only by an exact match.
    """
    return _normalized_exact_match(_Pair(completion, reference))


def chrf(completion: str, reference: str) -> float:
    """chrF of Popović (2015), by sacrebleu with its defaults (CHRF_SIGNATURE): 0 to 100.

    The F-score, recall weighing twice as much, of character n-grams of orders 1 to 6, whitespace left out. For two
    blank texts, which have no n-grams, it is 100: sacrebleu's 0 would make an empty page unlike itself. Of a longer
    text the first 100,000 characters count.
    """
    return _chrf(_Pair(completion, reference))


def chrf_statistics(completion: str, reference: str) -> list[int]:
    """What chrF counts: for each order from 1 to 6 the n-grams of the completion, of the reference, and in common.

    The chrF of a corpus is computed from the sums over its rows.
    """
    return _Pair(completion, reference).chrf_statistics


def validity(completion: str) -> float:
    """1.0 if the completion, as a whole document, has no HTML5 parse error, else 0.0."""
    return _validity(_Pair(completion, ""))


def structural_similarity(completion: str, reference: str) -> float:
    """How like each other the trees of elements are, texts and attributes aside: 0 to 1.

    TEDS of Zhong, ShafieiBavani and Jimeno Yepes (2020, "Image-based table recognition: data, model, and evaluation")
    with tags as labels: 1 - distance / elements of the larger tree, and 0 where that is negative. The distance is the
    least number of elements to insert, delete or rename, by APTED (Pawlik and Augsten 2016). `html`, `head` and `body`
    are left out: the parser gives them to any text, and they would make an empty page a little like every other.

    If the trees have more than 10,000 pairs of elements (100 by 100, say), or one has more than 1,000 elements, the
    distance is the larger of the Levenshtein distances of their tags in preorder and in postorder, which is at most
    the distance of the trees (Guha et al. 2002, "Approximate XML joins"). Of a page beyond the parser's limits counts
    what comes before.
    """
    return _structural_similarity(_Pair(completion, reference))


def text_similarity(completion: str, reference: str) -> float:
    """How like each other the visible texts are (`models.scoring.html.visible_text`): 0 to 1; two pages without any: 1.

    Twice the length of the longest common subsequence over the sum of the lengths (rapidfuzz's Indel), in characters;
    in words if a text has more than 50,000 characters. Of a page beyond the parser's limits counts what comes before.
    """
    return _text_similarity(_Pair(completion, reference))


@dataclass(frozen=True)
class _Pair:
    """Two texts and what more than one metric needs of them, computed when it is first asked for."""

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
        info = _CHRF._extract_reference_info([self.reference[:MAX_CHRF_CHARACTERS]])
        return _CHRF._compute_segment_statistics(self.completion[:MAX_CHRF_CHARACTERS], info)


def _exact_match(pair: _Pair) -> float:
    return exact_match(pair.completion, pair.reference)


def _normalized_exact_match(pair: _Pair) -> float:
    if exact_match(pair.completion, pair.reference):
        return 1.0
    if not (pair.completion_page.complete and pair.reference_page.complete):
        return 0.0
    return float(canonical_form(pair.completion_page) == canonical_form(pair.reference_page))


def _chrf(pair: _Pair) -> float:
    if not pair.completion.strip() and not pair.reference.strip():
        return 100.0
    return _CHRF._compute_f_score(pair.chrf_statistics)


def _validity(pair: _Pair) -> float:
    return float(not pair.completion_page.errors)


def _structural_similarity(pair: _Pair) -> float:
    ours, wanted = structure(pair.completion_page), structure(pair.reference_page)
    if ours == wanted:
        return 1.0
    smaller, larger = sorted((len(ours.tags), len(wanted.tags)))
    if smaller * larger <= MAX_TREE_PAIRS and larger <= MAX_TREE:
        distance = APTED(_tree(ours), _tree(wanted), _UnitCosts()).compute_edit_distance()
    else:
        distance = max(
            Levenshtein.distance(ours.tags, wanted.tags),
            Levenshtein.distance(_postorder(ours), _postorder(wanted)),
        )
    return max(0.0, 1 - distance / larger)


def _text_similarity(pair: _Pair) -> float:
    ours, wanted = visible_text(pair.completion_page), visible_text(pair.reference_page)
    if max(len(ours), len(wanted)) > MAX_CHARACTERS:
        return Indel.normalized_similarity(ours.split(), wanted.split())
    return Indel.normalized_similarity(ours, wanted)


_SCORERS: dict[str, Callable[[_Pair], float]] = {
    "exact_match": _exact_match,
    "normalized_exact_match": _normalized_exact_match,
    "chrf": _chrf,
    "validity": _validity,
    "structural_similarity": _structural_similarity,
    "text_similarity": _text_similarity,
}


class _Node:
    def __init__(self, name: str) -> None:
        self.name = name
        self.children: list[_Node] = []


class _UnitCosts(Config):
    def rename(self, node1: _Node, node2: _Node) -> int:
        return int(node1.name != node2.name)


def _tree(elements: Structure) -> _Node:
    """The elements under a root of their own: apted takes a tree, not a forest. It costs nothing to match the roots."""
    path = [_Node("")]
    for tag, depth in zip(elements.tags, elements.depths, strict=True):
        del path[depth + 1 :]
        node = _Node(tag)
        path[-1].children.append(node)
        path.append(node)
    return path[0]


def _postorder(elements: Structure) -> list[str]:
    ordered: list[str] = []
    path: list[str] = []
    for tag, depth in zip(elements.tags, elements.depths, strict=True):
        ordered += reversed(path[depth:])
        path[depth:] = [tag]
    return ordered + path[::-1]
