"""Convert loss curves to coordinates of the report's SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from pagewright.cli.experiment.results import Point

WIDTH, HEIGHT = 640, 240
LEFT, TOP, RIGHT, BOTTOM = 48, 12, 12, 32
TICKS = 4


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """`training` and `evaluation` are points of SVG polylines. `evaluation` is empty if it was not measured."""

    training: str
    evaluation: str
    steps: list[Tick]
    losses: list[Tick]


def loss_chart(curve: Sequence[Point]) -> Chart | None:
    """Return the chart of a fine-tune's losses, or None if no step has a loss."""
    training = [(point.step, point.loss) for point in curve if point.loss is not None]
    evaluation = [(point.step, point.eval_loss) for point in curve if point.eval_loss is not None]
    if not training:
        return None
    last_step = max(step for step, _ in training + evaluation)
    highest = max(loss for _, loss in training + evaluation) or 1.0

    def x(step: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * step / last_step, 1)

    def y(loss: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * loss / highest, 1)

    def points(measured: Sequence[tuple[int, float]]) -> str:
        return " ".join(f"{x(step)},{y(loss)}" for step, loss in measured)

    shares = [number / TICKS for number in range(TICKS + 1)]
    return Chart(
        training=points(training),
        evaluation=points(evaluation),
        steps=[Tick(x(share * last_step), f"{share * last_step:g}") for share in shares],
        losses=[Tick(y(share * highest), f"{share * highest:.2f}") for share in shares],
    )
