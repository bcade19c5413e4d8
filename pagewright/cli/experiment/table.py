"""The table of the results, its notes and the aims, as Markdown."""

from collections.abc import Sequence

from models.scoring.names import Metric
from pagewright.cli.experiment.plan import System
from pagewright.cli.experiment.results import Aim, Evaluated, Results

HEADER = (
    "rows",
    "system",
    "exact match",
    "normalized exact match",
    "chrF",
    "validity",
    "structural similarity",
    "seconds",
)
LEFT = ("rows", "system")


def markdown(results: Results) -> str:
    """All that a run prints: the table, the notes, the aims, and the versions that it ran on."""
    parts = [
        table(results.evaluations),
        bullets(results.notes),
        bullets([shown(aim) for aim in results.aims]),
        f"`{results.command}`",
        described(results),
    ]
    return "\n\n".join(part for part in parts if part)


def table(evaluations: Sequence[Evaluated]) -> str:
    """The evaluations as a Markdown table."""
    rules = ["---" if name in LEFT else "---:" for name in HEADER]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (HEADER, rules, *rows(evaluations)))


def rows(evaluations: Sequence[Evaluated]) -> list[list[str]]:
    """The cells below HEADER: fewer rows first, and of each size the systems in their order."""
    order = list(System)
    ordered = sorted(evaluations, key=lambda one: (one.rows, order.index(one.system)))
    return [
        [
            f"all {one.rows}" if one.limit is None else f"first {one.rows}",
            one.system.value,
            _matches(one, Metric.EXACT_MATCH),
            _matches(one, Metric.NORMALIZED_EXACT_MATCH),
            _figure(one, Metric.CHRF, "{:.2f}"),
            _figure(one, Metric.VALIDITY, "{:.1%}"),
            _figure(one, Metric.STRUCTURAL_SIMILARITY, "{:.3f}"),
            f"{one.seconds:.1f}",
        ]
        for one in ordered
    ]


def shown(aim: Aim) -> str:
    """An aim in one line."""
    measured = f" ({aim.measured})" if aim.measured else ""
    return f"{aim.outcome}{measured}: {aim.text}"


def described(results: Results) -> str:
    """What was run on what, in a paragraph."""
    model, dataset = results.model, results.dataset
    at = f" at {model.revision}" if model.revision else ""
    data = f"{dataset.location} at {dataset.revision}" if dataset.revision else dataset.location
    packages = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return (
        f"The model {model.name}{at}; {dataset.train_rows} training and {dataset.test_rows} test rows of {data} "
        f"(fraction {dataset.test_fraction:g}, seed {dataset.seed}); {packages}."
    )


def bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {' '.join(line.split())}" for line in lines)


def _matches(one: Evaluated, metric: Metric) -> str:
    score = one.scores.get(metric)
    return f"{round(score.value * score.n)} ({score.value:.1%})" if score else ""


def _figure(one: Evaluated, metric: Metric, form: str) -> str:
    score = one.scores.get(metric)
    return form.format(score.value) if score else ""
