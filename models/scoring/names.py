"""The names of the metrics and the baselines, each listed once. Importing this module loads no other library."""

from enum import StrEnum


class Metric(StrEnum):
    """A score of a prediction. `chrf` ranges from 0 to 100, every other metric from 0 to 1.

    Each metric is also a column of the table `predictions` and a field of `models.scoring.metrics.Scores`.
    """

    EXACT_MATCH = "exact_match"
    NORMALIZED_EXACT_MATCH = "normalized_exact_match"
    CHRF = "chrf"
    VALIDITY = "validity"
    STRUCTURAL_SIMILARITY = "structural_similarity"
    TEXT_SIMILARITY = "text_similarity"


BASELINE_PREFIX = "baseline:"
"""No model can be registered under a name that starts with this."""


class Baseline(StrEnum):
    """A baseline, which an evaluation can name in place of a model."""

    NEAREST_NEIGHBOUR = "baseline:nearest-neighbour"
    CONSTANT = "baseline:constant"
