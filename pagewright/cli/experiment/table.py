"""Format the results as Markdown: the table, the notes and the aims."""

from collections.abc import Sequence

from models.scoring.names import Metric
from pagewright.cli.experiment.plan import System
from pagewright.cli.experiment.results import Aim, Evaluated, Results

HEADER = (
    "rows",
    "system",
    "template",
    "exact match",
    "normalized exact match",
    "chrF",
    "validity",
    "structural similarity",
    "seconds",
)
LEFT = ("rows", "system", "template")


def markdown(results: Results) -> str:
    """Return the whole output of a run: the table, the notes, the aims, the command and the versions."""
    parts = [
        table(results.evaluations),
        bullets(results.notes),
        bullets([shown(aim) for aim in results.aims]),
        f"`{results.command}`",
        described(results),
    ]
    return "\n\n".join(part for part in parts if part)


def table(evaluations: Sequence[Evaluated]) -> str:
    """Return the evaluations as a Markdown table."""
    rules = ["---" if name in LEFT else "---:" for name in HEADER]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (HEADER, rules, *rows(evaluations)))


def rows(evaluations: Sequence[Evaluated]) -> list[list[str]]:
    """Return the table's cells below HEADER, by number of rows, then in the order of System."""
    order = list(System)
    ordered = sorted(evaluations, key=lambda item: (item.rows, order.index(item.system)))
    return [
        [
            f"all {evaluated.rows}" if evaluated.limit is None else f"first {evaluated.rows}",
            evaluated.system.value,
            (evaluated.template or "")[:12],
            _matches(evaluated, Metric.EXACT_MATCH),
            _matches(evaluated, Metric.NORMALIZED_EXACT_MATCH),
            _score(evaluated, Metric.CHRF, "{:.2f}"),
            _score(evaluated, Metric.VALIDITY, "{:.1%}"),
            _score(evaluated, Metric.STRUCTURAL_SIMILARITY, "{:.3f}"),
            f"{evaluated.seconds:.1f}",
        ]
        for evaluated in ordered
    ]


def shown(aim: Aim) -> str:
    """Return an aim as evaluated line."""
    measured = f" ({aim.measured})" if aim.measured else ""
    return f"{aim.outcome}{measured}: {aim.text}"


def described(results: Results) -> str:
    """Return a sentence about the model, the dataset and the package versions."""
    model, dataset = results.model, results.dataset
    at = f" at {model.revision}" if model.revision else ""
    data = f"{dataset.location} at {dataset.revision}" if dataset.revision else dataset.location
    packages = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return (
        f"Model: {model.name}{at}. Dataset: {dataset.train_rows} training and {dataset.test_rows} test rows of {data} "
        f"(fraction {dataset.test_fraction:g}, seed {dataset.seed}). Versions: {packages}."
    )


def bullets(lines: Sequence[str]) -> str:
    """Return the lines as a Markdown list."""
    return "\n".join(f"- {' '.join(line.split())}" for line in lines)


def _matches(evaluated: Evaluated, metric: Metric) -> str:
    score = evaluated.scores.get(metric)
    return f"{round(score.value * score.n)} ({score.value:.1%})" if score else ""


def _score(evaluated: Evaluated, metric: Metric, template: str) -> str:
    score = evaluated.scores.get(metric)
    return template.format(score.value) if score else ""
