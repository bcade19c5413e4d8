"""What the experiment is to reach, and whether this run did: computed from its evaluations alone."""

import operator
from collections.abc import Callable, Sequence

from models.scoring.names import Metric
from pagewright.cli.experiment.plan import QUANTIZED, System
from pagewright.cli.experiment.results import Aim, Evaluated, find

PUBLISHED_NEAREST = {22: 41.07, 132: 37.38}
"""The nearest neighbour's chrF on the original's first test rows and on all of them, as published."""

LEAST_VALIDITY = 0.95
MOST_LOST_CHRF = 1.0


def judge(evaluations: Sequence[Evaluated], *, original: bool) -> list[Aim]:
    """Every aim with what was measured, and whether that meets it.

    The fine-tuned model is base + LoRA, or GPTQ base + LoRA where there is no base in full precision. Published
    figures are compared with only where the rows are the `original` ones.
    """
    sizes = sorted({one.rows for one in evaluations})
    tuned = System.BASE_LORA if any(one.system == System.BASE_LORA for one in evaluations) else System.GPTQ_LORA

    def chrf(system: System, rows: int) -> float | None:
        return _score(evaluations, system, rows, Metric.CHRF)

    aims = []
    for rows, published in PUBLISHED_NEAREST.items():
        text = f"{tuned}, {rows} rows: chrF above {published}, the published nearest neighbour's"
        aims.append(_aim(text, chrf(tuned, rows) if original else None, operator.gt, published, "{:.3f}"))
    for rows in sizes:
        nearest = chrf(System.NEAREST_NEIGHBOUR, rows)
        text = f"{tuned}, {rows} rows: chrF above this run's nearest neighbour's"
        text += "" if nearest is None else f", {nearest:.2f}"
        aims.append(_aim(text, chrf(tuned, rows), operator.gt, nearest, "{:.3f}"))
    for rows in sizes[-1:]:
        text = f"{tuned}, {rows} rows: at least one exact match"
        aims.append(_aim(text, _count(evaluations, tuned, rows), operator.ge, 1, "{:.0f}"))
    for rows in sizes:
        text = f"{tuned}, {rows} rows: validity of {LEAST_VALIDITY:.0%} or more"
        valid = _score(evaluations, tuned, rows, Metric.VALIDITY)
        aims.append(_aim(text, valid, operator.ge, LEAST_VALIDITY, "{:.1%}"))
    for full, quantized in QUANTIZED.items():
        for rows in sizes:
            text = f"{quantized}, {rows} rows: loses less than {MOST_LOST_CHRF:g} chrF against {full}"
            before, after = chrf(full, rows), chrf(quantized, rows)
            lost = None if before is None or after is None else before - after
            aims.append(_aim(text, lost, operator.lt, MOST_LOST_CHRF, "{:.3f}"))
    return aims


def _score(evaluations: Sequence[Evaluated], system: System, rows: int, metric: Metric) -> float | None:
    found = find(evaluations, system, rows)
    score = found and found.scores.get(metric)
    return score.value if score else None


def _count(evaluations: Sequence[Evaluated], system: System, rows: int) -> float | None:
    share = _score(evaluations, system, rows, Metric.EXACT_MATCH)
    return None if share is None else round(share * rows)


def _aim(
    text: str, value: float | None, compare: Callable[[float, float], bool], bound: float | None, shown: str
) -> Aim:
    if value is None or bound is None:
        return Aim(text=text, measured="", outcome="not measured")
    return Aim(text=text, measured=shown.format(value), outcome="met" if compare(value, bound) else "missed")
