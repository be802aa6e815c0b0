"""Plots as inline SVG: curves over the time of a recording with its highlights marked."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 1000.0, 100.0
_STEPS_SECONDS = (10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)


@dataclass(frozen=True)
class Curve:
    """Values in equal steps; None leaves a gap."""

    values: Sequence[float | None]
    style: str


@dataclass(frozen=True)
class Axis:
    """From the bottom to the top of a plot, and what is written beside it as (value, text)."""

    low: float
    high: float
    marks: Sequence[tuple[float, str]]


def plot(name: str, title: str, description: str, curves: Sequence[Curve], axis: Axis,
         bands: Sequence[tuple[float, float]]) -> str:  # fmt: skip
    """A plot that fills its place's width. `bands` are highlights as shares of the whole time, 0 to 1."""
    shapes = [
        f'<rect class="band" x="{WIDTH * start:.2f}" y="0" width="{max(3.0, WIDTH * (end - start)):.2f}" '
        f'height="{HEIGHT:g}"/>'
        for start, end in bands
    ]
    shapes += [
        f'<line class="zero" x1="0" x2="{WIDTH:g}" y1="{_y(value, axis):.2f}" y2="{_y(value, axis):.2f}"/>'
        for value, _ in axis.marks
    ]
    shapes += [f'<path class="curve {curve.style}" d="{_path(curve.values, axis)}"/>' for curve in curves]
    scale = "".join(
        f'<span class="scale" style="top:{_y(value, axis):.1f}%" aria-hidden="true">{escape(text)}</span>'
        for value, text in axis.marks
    )
    return (
        f'<div class="plot">{scale}<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" preserveAspectRatio="none" role="img" '
        f'aria-labelledby="{name}-title {name}-text"><title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-text">{escape(description)}</desc>{"".join(shapes)}</svg></div>'
    )


def times(duration_seconds: float) -> str:
    """The clock under a plot: at most eight marks."""
    step = next((each for each in _STEPS_SECONDS if duration_seconds / each <= 8), _STEPS_SECONDS[-1])
    marks = [float(at) for at in range(0, int(duration_seconds) + 1, step)]
    if len(marks) > 1 and duration_seconds - marks[-1] < 0.06 * duration_seconds:
        marks.pop()
    marks.append(duration_seconds)
    spans = "".join(f'<span style="left:{100 * at / duration_seconds:.2f}%">{clock(at)}</span>' for at in marks)
    return f'<div class="times" aria-hidden="true">{spans}</div>'


def clock(seconds: float) -> str:
    """1:05 or 1:02:05."""
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _y(value: float, axis: Axis) -> float:
    share = (value - axis.low) / max(1e-9, axis.high - axis.low)
    return HEIGHT * (1.0 - min(1.0, max(0.0, share)))


def _path(values: Sequence[float | None], axis: Axis) -> str:
    """Lines between neighbours; a value between two gaps is a short dash."""
    parts: list[str] = []
    step = WIDTH / max(1, len(values))
    drawing = False
    for number, value in enumerate(values):
        if value is None:
            drawing = False
            continue
        x, y = (number + 0.5) * step, _y(value, axis)
        parts.append(f"L{x:.1f} {y:.1f}" if drawing else f"M{max(0.0, x - step / 2):.1f} {y:.1f}L{x:.1f} {y:.1f}")
        drawing = True
    return "".join(parts)
