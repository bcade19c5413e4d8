"""The aims of the experiment, and whether a run met them. Computed from the run's evaluations only."""

import operator
from collections.abc import Callable, Sequence

from models.scoring.names import Metric
from pagewright.cli.experiment.plan import QUANTIZED, System
from pagewright.cli.experiment.results import Aim, Evaluated, find

PUBLISHED_NEAREST = {22: 41.07, 132: 37.38}
"""Published chrF of the nearest neighbour, by number of test rows: the original's first rows, and all rows."""

MIN_VALIDITY = 0.95
MAX_CHRF_LOSS = 1.0


def judge(evaluations: Sequence[Evaluated], *, original: bool) -> list[Aim]:
    """Return every aim with the measured value and its outcome.

    The fine-tuned model is base + LoRA, or GPTQ base + LoRA if there is no base in full precision. Results are compared
    with published scores only if `original` is true: if the rows are those of the original experiment.
    """
    sizes = sorted({evaluated.rows for evaluated in evaluations})
    systems = {evaluated.system for evaluated in evaluations}
    tuned = System.BASE_LORA if System.BASE_LORA in systems else System.GPTQ_LORA

    def chrf(system: System, rows: int) -> float | None:
        return _score(evaluations, system, rows, Metric.CHRF)

    aims = []
    for rows, published in PUBLISHED_NEAREST.items():
        text = f"{tuned}, {rows} rows: chrF above {published}, the published score of the nearest neighbour"
        aims.append(_aim(text, chrf(tuned, rows) if original else None, operator.gt, published, "{:.3f}"))
    for rows in sizes:
        nearest = chrf(System.NEAREST_NEIGHBOUR, rows)
        text = f"{tuned}, {rows} rows: chrF above that of the nearest neighbour in this run"
        text += "" if nearest is None else f", {nearest:.2f}"
        aims.append(_aim(text, chrf(tuned, rows), operator.gt, nearest, "{:.3f}"))
    for rows in sizes[-1:]:
        text = f"{tuned}, {rows} rows: at least one exact match"
        aims.append(_aim(text, _count(evaluations, tuned, rows), operator.ge, 1, "{:.0f}"))
    for rows in sizes:
        text = f"{tuned}, {rows} rows: validity of {MIN_VALIDITY:.0%} or more"
        valid = _score(evaluations, tuned, rows, Metric.VALIDITY)
        aims.append(_aim(text, valid, operator.ge, MIN_VALIDITY, "{:.1%}"))
    for full, quantized in QUANTIZED.items():
        for rows in sizes:
            text = f"{quantized}, {rows} rows: loses less than {MAX_CHRF_LOSS:g} chrF against {full}"
            before, after = chrf(full, rows), chrf(quantized, rows)
            lost = None if before is None or after is None else before - after
            aims.append(_aim(text, lost, operator.lt, MAX_CHRF_LOSS, "{:.3f}"))
    return aims


def _score(evaluations: Sequence[Evaluated], system: System, rows: int, metric: Metric) -> float | None:
    evaluated = find(evaluations, system, rows)
    score = evaluated and evaluated.scores.get(metric)
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
